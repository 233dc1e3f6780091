// Pictures in device memory -> one network input, batch x 3 x height x width, in one launch.
//
// Each plane is sampled on its own, bilinear, pixel centres at half integers (x_source = (x + 0.5) * scale - 0.5),
// clamped at its border: what cv2.resize(INTER_LINEAR) does on the CPU. Then one 3x4 matrix makes the channels,
// saturated to 0..255, and gain and bias normalise them. A map, where there is one, has the source pixel of every
// pixel of the inner rectangle instead of the scale; what it puts outside the picture is padding. A row of zeros is a
// picture of padding alone.
//
// Each thread makes ROWS pixels, one below the other: what is the same for them is read and worked out once. For NV12
// without a map all samples are asked for before the first is used, so that their ways to memory overlap.
//
// Compiled at run time, with HALF for float16 outputs. Layouts: `edged/engines/preprocess_device.py`.

#ifdef HALF
typedef unsigned short Element;
#else
typedef float Element;
#endif

#ifdef __CUDACC_RTC__
#define BOUNDS __launch_bounds__(128, BLOCKS)
#define ALIGNED __align__(16)
__device__ __forceinline__ unsigned short half_bits(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#else
#define BOUNDS
#define ALIGNED
#endif

#if defined(WIDE) && defined(__CUDACC_RTC__)  // asks for the rest of the 128 bytes too: the pixels beside these need them
#define LOAD(kind, value, from) asm("ld.global.nc.L2::128B." kind " %0, [%1];" : "=r"(value) : "l"(from))
#else
#define LOAD(kind, value, from) value = *(from)
#endif

struct Point {
    float x, y;
};

struct ALIGNED Picture {
    const unsigned char *plane[3];
    const Point *map;
    int pitch[3];
    int width, height;
    int chroma_width, chroma_height;
    float chroma_scale_x, chroma_scale_y;
    int kind;
    int left, top, inner_width, inner_height;
    float scale_x, scale_y;
    float matrix[12];
};

enum Kind { NV12 = 0, YUV = 1, RGB = 2, GRAY = 3, NV12_EVEN = 4 };

struct Corners {
    int x0, x1, y0, y1;
    float fx, fy;
};

__device__ __forceinline__ Corners corners(float x, float y, int width, int height) {
    x = fminf(fmaxf(x, 0.0f), (float)(width - 1));
    y = fminf(fmaxf(y, 0.0f), (float)(height - 1));
    Corners at;
    at.x0 = (int)x;
    at.y0 = (int)y;
    at.x1 = min(at.x0 + 1, width - 1);
    at.y1 = min(at.y0 + 1, height - 1);
    at.fx = x - (float)at.x0;
    at.fy = y - (float)at.y0;
    return at;
}

__device__ __forceinline__ float blend(float a, float b, float c, float d, Corners at) {
    float top = a + at.fx * (b - a), bottom = c + at.fx * (d - c);
    return top + at.fy * (bottom - top);
}

// one sample of a plane whose samples lie `step` bytes apart
__device__ __forceinline__ float sample(const unsigned char *plane, int pitch, int step, Corners at) {
    const unsigned char *upper = plane + at.y0 * pitch, *lower = plane + at.y1 * pitch;
    return blend(upper[at.x0 * step], upper[at.x1 * step], lower[at.x0 * step], lower[at.x1 * step], at);
}

// both samples of an NV12 chroma plane with one load for each corner: its rows begin at even addresses (NV12_EVEN)
__device__ __forceinline__ void sample_pairs(const unsigned char *plane, int pitch, Corners at, float &u, float &v) {
    const unsigned short *upper = (const unsigned short *)(plane + at.y0 * pitch);
    const unsigned short *lower = (const unsigned short *)(plane + at.y1 * pitch);
    unsigned a = upper[at.x0], b = upper[at.x1], c = lower[at.x0], d = lower[at.x1];
    u = blend(a & 255, b & 255, c & 255, d & 255, at);
    v = blend(a >> 8, b >> 8, c >> 8, d >> 8, at);
}

__device__ __forceinline__ Element element(float value) {
#ifdef HALF
    return half_bits(value);
#else
    return value;
#endif
}

// Y, U, V or R, G, B of one pixel of the inner rectangle; false where it shows nothing of the picture
__device__ __forceinline__ bool read(const Picture &from, int column, int row, float &first, float &second, float &third) {
    float sx, sy;
    if (from.map) {
        Point at = from.map[row * from.inner_width + column];
        sx = at.x;
        sy = at.y;
        if (!(sx >= -0.5f && sx <= (float)from.width - 0.5f && sy >= -0.5f && sy <= (float)from.height - 0.5f))
            return false;
    } else {
        sx = ((float)column + 0.5f) * from.scale_x - 0.5f;
        sy = ((float)row + 0.5f) * from.scale_y - 0.5f;
    }
    Corners at = corners(sx, sy, from.width, from.height);
    if (from.kind == RGB) {
        first = sample(from.plane[0], from.pitch[0], 3, at);
        second = sample(from.plane[0] + 1, from.pitch[0], 3, at);
        third = sample(from.plane[0] + 2, from.pitch[0], 3, at);
        return true;
    }
    first = sample(from.plane[0], from.pitch[0], 1, at);
    if (from.kind == GRAY) {
        second = third = 128.0f;
        return true;
    }
    // the chroma plane covers the same picture with fewer samples
    float cx = (sx + 0.5f) * from.chroma_scale_x - 0.5f, cy = (sy + 0.5f) * from.chroma_scale_y - 0.5f;
    at = corners(cx, cy, from.chroma_width, from.chroma_height);
    if (from.kind == NV12_EVEN) {
        sample_pairs(from.plane[1], from.pitch[1], at, second, third);
    } else if (from.kind == NV12) {
        second = sample(from.plane[1], from.pitch[1], 2, at);
        third = sample(from.plane[1] + 1, from.pitch[1], 2, at);
    } else {
        second = sample(from.plane[1], from.pitch[1], 1, at);
        third = sample(from.plane[2], from.pitch[2], 1, at);
    }
    return true;
}

// where one axis of a plane is sampled: between two samples, the share of the second
struct Between {
    int low, high;
    float share;
};

__device__ __forceinline__ Between between(float at, int size) {
    at = fminf(fmaxf(at, 0.0f), (float)(size - 1));
    Between found;
    found.low = (int)at;
    found.high = min(found.low + 1, size - 1);
    found.share = at - (float)found.low;
    return found;
}

__device__ __forceinline__ float mixed(float a, float b, float c, float d, float right, float below) {
    float top = a + right * (b - a), bottom = c + right * (d - c);
    return top + below * (bottom - top);
}

// `read` for ROWS pixels of NV12_EVEN without a map; rows outside the inner rectangle give its nearest
__device__ __forceinline__ void read_rows(const Picture &from, int column, int row, float (&values)[ROWS][3]) {
    float sx = ((float)column + 0.5f) * from.scale_x - 0.5f;
    Between x = between(sx, from.width), u = between((sx + 0.5f) * from.chroma_scale_x - 0.5f, from.chroma_width);
    unsigned luma[ROWS][4], chroma[ROWS][4];
    float below[ROWS], chroma_below[ROWS];
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
        float sy = ((float)min(row + k, from.inner_height - 1) + 0.5f) * from.scale_y - 0.5f;
        Between y = between(sy, from.height), v = between((sy + 0.5f) * from.chroma_scale_y - 0.5f, from.chroma_height);
        const unsigned char *upper = from.plane[0] + y.low * from.pitch[0], *lower = from.plane[0] + y.high * from.pitch[0];
        const unsigned short *over = (const unsigned short *)(from.plane[1] + v.low * from.pitch[1]);
        const unsigned short *under = (const unsigned short *)(from.plane[1] + v.high * from.pitch[1]);
        LOAD("u8", luma[k][0], upper + x.low);
        LOAD("u8", luma[k][1], upper + x.high);
        LOAD("u8", luma[k][2], lower + x.low);
        LOAD("u8", luma[k][3], lower + x.high);
        LOAD("u16", chroma[k][0], over + u.low);
        LOAD("u16", chroma[k][1], over + u.high);
        LOAD("u16", chroma[k][2], under + u.low);
        LOAD("u16", chroma[k][3], under + u.high);
        below[k] = y.share;
        chroma_below[k] = v.share;
    }
#pragma unroll
    for (int k = 0; k < ROWS; k++) {
        const unsigned *p = luma[k], *q = chroma[k];
        values[k][0] = mixed(p[0], p[1], p[2], p[3], x.share, below[k]);
        values[k][1] = mixed(q[0] & 255, q[1] & 255, q[2] & 255, q[3] & 255, u.share, chroma_below[k]);
        values[k][2] = mixed(q[0] >> 8, q[1] >> 8, q[2] >> 8, q[3] >> 8, u.share, chroma_below[k]);
    }
}

extern "C" __global__ void BOUNDS pictures(
    Element *__restrict__ out, const Picture *__restrict__ pictures, int width, int height,
    float gain0, float gain1, float gain2, float bias0, float bias1, float bias2, float pad0, float pad1, float pad2) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = (blockIdx.y * blockDim.y + threadIdx.y) * ROWS;
    if (x >= width || y >= height) return;
    const Picture from = pictures[blockIdx.z];
    int column = x - from.left, row = y - from.top;
    bool inside = column >= 0 && column < from.inner_width, quick = inside && !from.map && from.kind == NV12_EVEN;
    float values[ROWS][3];
    if (quick) read_rows(from, column, row, values);
    int area = width * height;
    Element *to = out + 3LL * area * blockIdx.z + (y * width + x);
#pragma unroll
    for (int k = 0; k < ROWS; k++, to += width) {
        if (y + k >= height) return;
        float r = pad0, g = pad1, b = pad2;
        bool shown = inside && row + k >= 0 && row + k < from.inner_height;
        if (shown && !quick) shown = read(from, column, row + k, values[k][0], values[k][1], values[k][2]);
        if (shown) {
            const float *m = from.matrix, *v = values[k];
            r = m[0] * v[0] + m[1] * v[1] + m[2] * v[2] + m[3];
            g = m[4] * v[0] + m[5] * v[1] + m[6] * v[2] + m[7];
            b = m[8] * v[0] + m[9] * v[1] + m[10] * v[2] + m[11];
            r = fminf(fmaxf(r, 0.0f), 255.0f) * gain0 + bias0;
            g = fminf(fmaxf(g, 0.0f), 255.0f) * gain1 + bias1;
            b = fminf(fmaxf(b, 0.0f), 255.0f) * gain2 + bias2;
        }
        to[0] = element(r);
        to[area] = element(g);
        to[2 * area] = element(b);
    }
}
