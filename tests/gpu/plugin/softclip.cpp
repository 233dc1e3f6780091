// A custom layer for TensorRT 8.5 to 10.x: y = gain * x / (1 + |x|), element by element, in FP32.
//
// Its kernel is PTX that the driver compiles when an engine is loaded, so a C++ compiler and the headers of TensorRT and
// of CUDA's runtime are all that a build of it needs:
//
//     g++ -std=c++14 -O2 -shared -fPIC -I TENSORRT_INCLUDE -I /usr/local/cuda/include softclip.cpp -o libsoftclip.so -ldl
//
// In ONNX it is a node `EdgedSoftclip` with one input, one output and the attribute `gain`.

#include <NvInfer.h>
#include <dlfcn.h>

#include <cstring>
#include <memory>
#include <string>

namespace {

const char* const NAME = "EdgedSoftclip";
const char* const VERSION = "1";
const unsigned BLOCK = 256;

const char* const PTX = R"(
.version 6.0
.target sm_53
.address_size 64
.visible .entry softclip(.param .u64 out, .param .u64 in, .param .u64 count, .param .f32 gain)
{
    .reg .pred %beyond;
    .reg .b32 %block, %threads, %thread;
    .reg .b64 %at, %last, %from, %to;
    .reg .f32 %x, %y, %scale;
    mov.u32 %block, %ctaid.x;
    mov.u32 %threads, %ntid.x;
    mov.u32 %thread, %tid.x;
    mul.wide.u32 %at, %block, %threads;
    cvt.u64.u32 %from, %thread;
    add.u64 %at, %at, %from;
    ld.param.u64 %last, [count];
    setp.ge.u64 %beyond, %at, %last;
    @%beyond ret;
    ld.param.u64 %from, [in];
    ld.param.u64 %to, [out];
    ld.param.f32 %scale, [gain];
    cvta.to.global.u64 %from, %from;
    cvta.to.global.u64 %to, %to;
    shl.b64 %at, %at, 2;
    add.u64 %from, %from, %at;
    add.u64 %to, %to, %at;
    ld.global.f32 %x, [%from];
    abs.f32 %y, %x;
    add.f32 %y, %y, 0f3F800000;
    div.rn.f32 %y, %x, %y;
    mul.f32 %y, %y, %scale;
    st.global.f32 [%to], %y;
    ret;
}
)";

// The four calls of CUDA's driver that are needed; the driver is there wherever TensorRT runs.
struct Driver {
    int (*load)(void**, const void*);
    int (*unload)(void*);
    int (*function)(void**, void*, const char*);
    int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);

    Driver() {
        void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
        find(library, "cuModuleLoadData", load);
        find(library, "cuModuleUnload", unload);
        find(library, "cuModuleGetFunction", function);
        find(library, "cuLaunchKernel", launch);
    }

    bool whole() const { return load && unload && function && launch; }

private:
    template <typename Call>
    static void find(void* library, const char* name, Call& call) {
        void* found = library ? dlsym(library, name) : nullptr;
        std::memcpy(&call, &found, sizeof call);
    }
};

const Driver& driver() {
    static const Driver one;
    return one;
}

// The kernel, loaded into the context that is current; it goes with the last layer that holds it.
class Kernel {
public:
    Kernel() {
        if (driver().whole() && driver().load(&mModule, PTX) == 0) driver().function(&mFunction, mModule, "softclip");
    }
    ~Kernel() {
        if (mModule) driver().unload(mModule);
    }
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;

    bool launch(void* out, const void* in, unsigned long long count, float gain, void* stream) const {
        void* values[] = {&out, &in, &count, &gain};
        unsigned blocks = static_cast<unsigned>((count + BLOCK - 1) / BLOCK);
        return mFunction && driver().launch(mFunction, blocks, 1, 1, BLOCK, 1, 1, 0, stream, values, nullptr) == 0;
    }

private:
    void* mModule{nullptr};
    void* mFunction{nullptr};
};

class Softclip final : public nvinfer1::IPluginV2DynamicExt {
public:
    Softclip(float gain, std::shared_ptr<Kernel> kernel = nullptr) : mGain(gain), mKernel(kernel) {}

    nvinfer1::IPluginV2DynamicExt* clone() const noexcept override {
        auto* other = new Softclip(mGain, mKernel);
        other->mNamespace = mNamespace;
        return other;
    }
    nvinfer1::DimsExprs getOutputDimensions(
        int32_t, const nvinfer1::DimsExprs* inputs, int32_t, nvinfer1::IExprBuilder&) noexcept override {
        return inputs[0];
    }
    bool supportsFormatCombination(
        int32_t position, const nvinfer1::PluginTensorDesc* tensors, int32_t, int32_t) noexcept override {
        const auto& one = tensors[position];
        return one.type == nvinfer1::DataType::kFLOAT && one.format == nvinfer1::TensorFormat::kLINEAR;
    }
    void configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t, const nvinfer1::DynamicPluginTensorDesc*,
        int32_t) noexcept override {}
    size_t getWorkspaceSize(const nvinfer1::PluginTensorDesc*, int32_t, const nvinfer1::PluginTensorDesc*,
        int32_t) const noexcept override {
        return 0;
    }
    int32_t enqueue(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc*,
        const void* const* in, void* const* out, void*, cudaStream_t stream) noexcept override {
        unsigned long long count = 1;
        for (int32_t axis = 0; axis < inputs[0].dims.nbDims; axis++) count *= inputs[0].dims.d[axis];
        initialize();
        return mKernel->launch(out[0], in[0], count, mGain, stream) ? 0 : 1;
    }
    nvinfer1::DataType getOutputDataType(int32_t, const nvinfer1::DataType* inputs, int32_t) const noexcept override {
        return inputs[0];
    }
    const char* getPluginType() const noexcept override { return NAME; }
    const char* getPluginVersion() const noexcept override { return VERSION; }
    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t initialize() noexcept override {
        if (!mKernel) mKernel = std::make_shared<Kernel>();
        return 0;
    }
    void terminate() noexcept override { mKernel.reset(); }
    size_t getSerializationSize() const noexcept override { return sizeof mGain; }
    void serialize(void* buffer) const noexcept override { std::memcpy(buffer, &mGain, sizeof mGain); }
    void destroy() noexcept override { delete this; }
    void setPluginNamespace(const char* name) noexcept override { mNamespace = name; }
    const char* getPluginNamespace() const noexcept override { return mNamespace.c_str(); }

private:
    float mGain;
    std::shared_ptr<Kernel> mKernel;
    std::string mNamespace;
};

class SoftclipCreator final : public nvinfer1::IPluginCreator {
public:
    SoftclipCreator() : mField("gain", nullptr, nvinfer1::PluginFieldType::kFLOAT32, 1) {
        mFields.nbFields = 1;
        mFields.fields = &mField;
    }
    const char* getPluginName() const noexcept override { return NAME; }
    const char* getPluginVersion() const noexcept override { return VERSION; }
    const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &mFields; }
    nvinfer1::IPluginV2* createPlugin(
        const char*, const nvinfer1::PluginFieldCollection* fields) noexcept override {
        float gain = 1.0F;
        for (int32_t number = 0; number < fields->nbFields; number++)
            if (std::strcmp(fields->fields[number].name, "gain") == 0 && fields->fields[number].data)
                gain = *static_cast<const float*>(fields->fields[number].data);
        return new Softclip(gain);
    }
    nvinfer1::IPluginV2* deserializePlugin(const char*, const void* data, size_t) noexcept override {
        float gain;
        std::memcpy(&gain, data, sizeof gain);
        return new Softclip(gain);
    }
    void setPluginNamespace(const char* name) noexcept override { mNamespace = name; }
    const char* getPluginNamespace() const noexcept override { return mNamespace.c_str(); }

private:
    nvinfer1::PluginField mField;
    nvinfer1::PluginFieldCollection mFields;
    std::string mNamespace;
};

REGISTER_TENSORRT_PLUGIN(SoftclipCreator);

}  // namespace
