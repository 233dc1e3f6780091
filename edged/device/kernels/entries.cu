// The entries of an output, batch x entries x channels in any order, that have a channel of some of at least a value.
//
// Their positions and channels go to the host's memory, which the device writes to directly: of what nobody looks at
// nothing travels. They come in no order. `found` counts them all, also those that `most` leaves no place for.
//
// Compiled at run time, with HALF for float16 outputs. Layout: `edged/engines/tensorrt/entries.py`.

#ifdef HALF
typedef unsigned short Element;
#else
typedef float Element;
#endif

#ifdef __CUDACC_RTC__
__device__ __forceinline__ float float_of(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif

__device__ __forceinline__ float number(Element value) {
#ifdef HALF
    return float_of(value);
#else
    return value;
#endif
}

extern "C" __global__ void entries(
    const Element *__restrict__ out, int *__restrict__ found, int *__restrict__ positions, float *__restrict__ values,
    int count, int channels, int entry_step, int channel_step, int first, int end, int most, float least) {
    int entry = blockIdx.x * blockDim.x + threadIdx.x, image = blockIdx.z;
    if (entry >= count) return;
    const Element *from = out + (long long)image * count * channels + (long long)entry * entry_step;
    bool looked_at = false;
    for (int channel = first; channel < end; channel++)
        looked_at |= number(from[(long long)channel * channel_step]) >= least;
    if (!looked_at) return;
    int place = atomicAdd(found + image, 1);
    if (place >= most) return;
    positions[image * most + place] = entry;
    float *to = values + ((long long)image * most + place) * channels;
    for (int channel = 0; channel < channels; channel++) to[channel] = number(from[(long long)channel * channel_step]);
}
