// The CUDA and OpenCL glue against stand-ins for the drivers, under each name and with none. A process looks
// for a driver until it has found one, so every case runs in a process of its own.
#include "fake_call.h"

#include <cstring>
#include <dlfcn.h>
#include <filesystem>

namespace {

namespace fs = std::filesystem;

// A folder with a stand-in under that name, for the loader's search path.
class DriverFolder {
public:
    DriverFolder(const char *stub, const char *name) {
        std::string pattern = (fs::temp_directory_path() / "unstride-driver-XXXXXX").string();
        path_ = mkdtemp(pattern.data());
        fs::copy_file(stub, path_ / name);
    }
    ~DriverFolder() { fs::remove_all(path_); }
    DriverFolder(const DriverFolder &) = delete;
    DriverFolder &operator=(const DriverFolder &) = delete;

    std::string search_path() const { return "LD_LIBRARY_PATH=" + path_.string(); }

private:
    fs::path path_;
};

// Whether this machine's loader finds one by itself, which would hide what the stand-ins show.
bool machine_has(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) dlclose(library);
    return library != nullptr;
}

bool passes_with(const char *test, const DriverFolder &folder, std::vector<std::string> environment = {}) {
    environment.push_back(folder.search_path());
    return passes_in_fresh_process(test, environment);
}

void expect_status(FakeCall &call) {
    EXPECT_EQ(std::to_string(call.run()), std::getenv("EXPECTED_STATUS")) << call.error();
    EXPECT_NE(call.error().find(std::getenv("EXPECTED_TEXT")), std::string::npos) << call.error();
    EXPECT_TRUE(call.untouched());
}

std::vector<std::string> expecting(int status, const char *text, std::vector<std::string> environment = {}) {
    environment.push_back("EXPECTED_STATUS=" + std::to_string(status));
    environment.push_back(std::string("EXPECTED_TEXT=") + text);
    return environment;
}

TEST(Cuda, DISABLED_Runs) {
    fake = fake_controls{};
    fake.failing_task = -1;
    FakeCall call(gpu_odd, gpu_library());
    int context = 0, stream = 0;
    call.arguments.cuda_context = &context;
    call.arguments.cuda_stream = &stream;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 4);
    EXPECT_EQ(fake.context, &context);
    EXPECT_EQ(fake.stream, &stream);
    const char *limit = std::getenv("HL_CUDA_JIT_MAX_REGISTERS");
    EXPECT_EQ(fake.registers, limit == nullptr ? 128u : 64u);
    EXPECT_EQ(fake.missing_code, 500);

    call.arguments.cuda_context = nullptr;
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_EQ(fake.context, reinterpret_cast<void *>(std::uintptr_t{77}));
    EXPECT_EQ(gpu_scratch_bytes(&gpu_odd, call.input.shape, 0), 0u);

    fake.fail_text = "CUDA: cuLaunchKernel failed: CUDA_ERROR_ILLEGAL_ADDRESS";
    for (const int code : {700, -29, -1}) {
        fake.fail_code = code;
        EXPECT_EQ(call.run(), UNSTRIDE_DEVICE_FAILURE);
        EXPECT_NE(call.error().find("CUDA_ERROR_ILLEGAL_ADDRESS"), std::string::npos) << call.error();
    }
    fake.fail_code = -8;
    EXPECT_EQ(call.run(), UNSTRIDE_INTERNAL);
}

TEST(Cuda, DISABLED_AnswersStatus) {
    FakeCall call(gpu_up, gpu_library());
    expect_status(call);
}

TEST(Cuda, DISABLED_ChecksPackedOnTheDevice) {
    FakeCall call(gpu_up, gpu_library());
    call.arguments.packed_device = 0;
    EXPECT_EQ(call.run(), UNSTRIDE_NULL_ARGUMENT);
    call.arguments.packed_device = reinterpret_cast<std::uintptr_t>(call.packed.data()) + 4;
    EXPECT_EQ(call.run(), UNSTRIDE_MISALIGNED);
    call.arguments.packed_device = reinterpret_cast<std::uintptr_t>(call.output.data) / 64 * 64;
    EXPECT_EQ(call.run(), UNSTRIDE_OVERLAP);
    EXPECT_TRUE(call.untouched());

    FakeCall moving(gpu_line, gpu_library());
    EXPECT_EQ(moving.arguments.packed_device, 0u);
    EXPECT_EQ(moving.run(), UNSTRIDE_OK) << moving.error();
    EXPECT_TRUE(moving.right(4));

    // What the library holds is checked, but its copy on the device is the caller's.
    FakeCall held(gpu_held, gpu_library());
    held.arguments.packed = nullptr;
    EXPECT_EQ(held.run(), UNSTRIDE_NOT_PACKED);
    std::memcpy(gpu_held_weights, held.packed.data(), held.packed.bytes());
    EXPECT_EQ(held.run(), UNSTRIDE_OK) << held.error();
    EXPECT_TRUE(held.right());
    held.arguments.packed_device = 0;
    EXPECT_EQ(held.run(), UNSTRIDE_NULL_ARGUMENT);
}

TEST(Cuda, FindsTheDriverUnderItsVersionedName) {
    const DriverFolder folder(UNSTRIDE_STUB_CUDA, "libcuda.so.1");
    EXPECT_TRUE(passes_with("Cuda.DISABLED_Runs", folder, {"STUB_CUDA_CONTEXT=77"}));
    EXPECT_TRUE(
        passes_with("Cuda.DISABLED_Runs", folder, {"STUB_CUDA_CONTEXT=77", "HL_CUDA_JIT_MAX_REGISTERS=64"}));
    EXPECT_TRUE(passes_with("Cuda.DISABLED_ChecksPackedOnTheDevice", folder, {"STUB_CUDA_CONTEXT=77"}));
}

TEST(Cuda, FindsTheDriverUnderItsPlainName) {
    if (machine_has("libcuda.so.1")) GTEST_SKIP() << "this machine has a CUDA driver";
    const DriverFolder folder(UNSTRIDE_STUB_CUDA, "libcuda.so");
    EXPECT_TRUE(passes_with("Cuda.DISABLED_Runs", folder, {"STUB_CUDA_CONTEXT=77"}));
}

TEST(Cuda, NoDriverIsACode) {
    if (machine_has("libcuda.so.1") || machine_has("libcuda.so"))
        GTEST_SKIP() << "this machine has a CUDA driver";
    EXPECT_TRUE(passes_in_fresh_process("Cuda.DISABLED_AnswersStatus",
                                        expecting(UNSTRIDE_NO_DRIVER, "libcuda.so.1")));
}

TEST(Cuda, NoDeviceIsACode) {
    const DriverFolder folder(UNSTRIDE_STUB_CUDA, "libcuda.so.1");
    const auto answers = [&](const char *text, const char *variable) {
        return passes_with("Cuda.DISABLED_AnswersStatus", folder,
                           expecting(UNSTRIDE_NO_DEVICE, text, {variable}));
    };
    EXPECT_TRUE(answers("cuDeviceGetCount found 0 devices", "STUB_DEVICES=0"));
    EXPECT_TRUE(answers("cuInit answered CUDA error 100", "STUB_CUDA_INIT=100"));
    EXPECT_TRUE(answers("no current CUDA context", "STUB_CUDA_CONTEXT=0"));
}

TEST(Cuda, ALibraryThatIsNoDriverIsACode) {
    const DriverFolder folder(UNSTRIDE_STUB_OPENCL, "libcuda.so.1");
    EXPECT_TRUE(
        passes_with("Cuda.DISABLED_AnswersStatus", folder, expecting(UNSTRIDE_NO_DRIVER, "lacks functions")));
}

TEST(OpenCl, DISABLED_Runs) {
    fake = fake_controls{};
    fake.failing_task = -1;
    FakeCall call(ocl_odd, ocl_library());
    ASSERT_EQ(call.run(), UNSTRIDE_OK) << call.error();
    EXPECT_TRUE(call.right());
    EXPECT_EQ(fake.boxes, 4);
    EXPECT_EQ(fake.copies_back, 4);
    EXPECT_EQ(fake.releases, 4 * 2 + 3);

    fake.copies_back = fake.releases = fake.boxes = 0;
    FakeCall grouped(ocl_grouped, ocl_library());
    ASSERT_EQ(grouped.run(), UNSTRIDE_OK) << grouped.error();
    EXPECT_TRUE(grouped.right());
    EXPECT_EQ(fake.copies_back, 3 * 4);
    EXPECT_EQ(fake.releases, 3 * (4 * 2 + 3));

    FakeCall moving(ocl_line, ocl_library());
    ASSERT_EQ(moving.run(), UNSTRIDE_OK) << moving.error();
    EXPECT_TRUE(moving.right(4));
}

TEST(OpenCl, DISABLED_AnswersStatus) {
    FakeCall call(ocl_up, ocl_library());
    expect_status(call);
}

TEST(OpenCl, CopiesResultsBackAndReleasesMemory) {
    const DriverFolder folder(UNSTRIDE_STUB_OPENCL, "libOpenCL.so.1");
    EXPECT_TRUE(passes_with("OpenCl.DISABLED_Runs", folder));
}

TEST(OpenCl, NoDriverAndNoDeviceAreCodes) {
    const DriverFolder empty(UNSTRIDE_STUB_OPENCL, "libOpenCL.so.1"),
        other(UNSTRIDE_STUB_CUDA, "libOpenCL.so.1");
    EXPECT_TRUE(passes_with("OpenCl.DISABLED_AnswersStatus", empty,
                            expecting(UNSTRIDE_NO_DEVICE, "no device on any of 1", {"STUB_DEVICES=0"})));
    EXPECT_TRUE(passes_with("OpenCl.DISABLED_AnswersStatus", other,
                            expecting(UNSTRIDE_NO_DRIVER, "lacks functions")));
}

} // namespace
