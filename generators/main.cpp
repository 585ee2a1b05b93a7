// The generator program: compiles the jobs that a file describes, one generated function each, to objects.
//
// Usage: unstride-generators JOBS.json. The file is an array of
//   {"generator": "phase_convolution", "function": NAME, "folder": DIR, "target": HALIDE TARGET,
//    "emit": ["object", "assembly", "stmt"], "parameters": {"layer": …, "schedule": …, "instruction_set": …}}
// and {"runtime": FILE.o, "target": HALIDE TARGET} for a standalone runtime, and {"pack": FILE, …} for
// weights that are packed here and now, see pack_weights. Exit code 0 if every job succeeded.
#include <Halide.h>
#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

// Halide's own way of throwing its errors does not survive its switch to a larger stack.
struct ErrorReporter : Halide::CompileTimeErrorReporter {
    void warning(const char *text) override { std::fputs(text, stderr); }
    void error(const char *text) override {
        std::fputs(text, stderr);
        std::exit(1);
    }
};

// The autoscheduler that a schedule names, from the library beside Halide's own; none for all other
// schedules.
Halide::AutoschedulerParams autoscheduler(const nlohmann::json &parameters) {
    static const std::map<std::string, std::string> names = {{"adams2019", "Adams2019"},
                                                             {"mullapudi2016", "Mullapudi2016"},
                                                             {"li2018", "Li2018"},
                                                             {"anderson2021", "Anderson2021"}};
    const auto schedule = nlohmann::json::parse(parameters.at("schedule").get<std::string>());
    if (schedule.at("family") != "autoscheduled") return {};
    const auto scheduler = schedule.at("scheduler").get<std::string>();
    Dl_info halide;
    if (dladdr(reinterpret_cast<const void *>(&Halide::load_plugin), &halide) == 0)
        throw std::runtime_error("cannot tell where Halide's library lies");
    const std::filesystem::path folder = std::filesystem::path(halide.dli_fname).parent_path();
    Halide::load_plugin((folder / ("libautoschedule_" + scheduler + ".so")).string());
    return {names.at(scheduler), {{"parallelism", std::to_string(schedule.at("threads").get<int>())}}};
}

Halide::Internal::AbstractGeneratorPtr make_generator(const std::string &name, const Halide::Target &target,
                                                      const nlohmann::json &parameters) {
    const Halide::GeneratorContext context(target, name == "weight_packing" ? Halide::AutoschedulerParams()
                                                                            : autoscheduler(parameters));
    auto generator = Halide::Internal::get_registered_generators().create(name, context);
    for (const auto &[parameter, value] : parameters.items())
        generator->set_generatorparam_value(parameter, value.get<std::string>());
    return generator;
}

// Numbers of a layer for the packing of each group in turn.
class GroupedNumbers {
public:
    // From a file of f32 in this machine's byte order; without one a group's are a single zero.
    GroupedNumbers(const nlohmann::json &job, const char *name, std::size_t groups) : groups(groups) {
        if (!job.contains(name)) return;
        const std::string path = job.at(name).get<std::string>();
        std::ifstream file(path, std::ios::binary | std::ios::ate);
        const std::streamoff bytes = file.tellg();
        if (bytes <= 0 || static_cast<std::size_t>(bytes) % (groups * sizeof(float)) != 0)
            throw std::runtime_error(path + " does not hold the same count of numbers for every group");
        numbers.resize(static_cast<std::size_t>(bytes) / sizeof(float));
        file.seekg(0);
        if (!file.read(reinterpret_cast<char *>(numbers.data()), bytes))
            throw std::runtime_error("cannot read " + path);
    }

    Halide::Runtime::Buffer<float> group(std::size_t index) {
        const std::size_t count = numbers.size() / groups;
        if (numbers.empty()) return Halide::Runtime::Buffer<float>(&zero, 1);
        return Halide::Runtime::Buffer<float>(numbers.data() + index * count, static_cast<int>(count));
    }
    Halide::Runtime::Buffer<float> group(std::size_t index, const std::vector<int> &extent) {
        float *const first = group(index).data();
        return Halide::Runtime::Buffer<float>(first, extent);
    }

private:
    const std::size_t groups;
    std::vector<float> numbers;
    float zero = 0;
};

// Tensors of the same extents, one a group, each at a multiple of the alignment and zeros between them.
class PaddedTensors {
public:
    PaddedTensors(std::vector<int> extent, std::size_t groups, std::size_t alignment)
        : extent(std::move(extent)) {
        std::size_t bytes = sizeof(float);
        for (const int size : this->extent)
            bytes *= static_cast<std::size_t>(size);
        stride = (bytes + alignment - 1) / alignment * alignment / sizeof(float);
        numbers.resize(groups * stride);
    }

    Halide::Runtime::Buffer<float> group(std::size_t index) {
        return Halide::Runtime::Buffer<float>(numbers.data() + index * stride, extent);
    }
    void write(std::ostream &file) const {
        file.write(reinterpret_cast<const char *>(numbers.data()),
                   static_cast<std::streamsize>(numbers.size() * sizeof(float)));
    }

private:
    std::vector<int> extent;
    std::size_t stride;
    std::vector<float> numbers;
};

// Runs the packing kernel of a layer in this process:
//   {"pack": FILE, "target_features": FEATURES, "parameters": as those of the object,
//    "groups": G, "alignment": BYTES, "kernel": FILE, "bias": FILE, "scale": FILE, "prelu": FILE,
//    "kernel_extent": […], "weight_extent": […], "parameter_extent": […]}
// with extents of one group, innermost first. Reads files of f32, groups one after the other; what the layer
// does not have is left out. Writes the weights of every group, then the parameters of every group.
void pack_weights(const nlohmann::json &job) {
    const auto groups = job.at("groups").get<std::size_t>();
    const auto alignment = job.at("alignment").get<std::size_t>();
    const auto extent = [&](const char *name) { return job.at(name).get<std::vector<int>>(); };
    GroupedNumbers kernel(job, "kernel", groups), bias(job, "bias", groups), scale(job, "scale", groups),
        prelu(job, "prelu", groups);
    PaddedTensors weights(extent("weight_extent"), groups, alignment),
        parameters(extent("parameter_extent"), groups, alignment);
    const Halide::Target target("host" + job.at("target_features").get<std::string>());
    const Halide::Callable pack =
        make_generator("weight_packing", target, job.at("parameters"))->compile_to_callable();
    for (std::size_t g = 0; g < groups; g++) {
        const int code = pack(kernel.group(g, extent("kernel_extent")), bias.group(g), scale.group(g),
                              prelu.group(g), weights.group(g), parameters.group(g));
        if (code != 0) throw std::runtime_error("packing failed with code " + std::to_string(code));
    }
    const std::string path = job.at("pack").get<std::string>();
    std::ofstream file(path, std::ios::binary);
    weights.write(file);
    parameters.write(file);
    if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void run_job(const nlohmann::json &job) {
    if (job.contains("pack")) return pack_weights(job);
    const Halide::Target target(job.at("target").get<std::string>());
    if (job.contains("runtime")) {
        Halide::compile_standalone_runtime(job.at("runtime").get<std::string>(), target);
        return;
    }
    static const std::map<std::string, std::pair<Halide::OutputFileType, const char *>> outputs = {
        {"object", {Halide::OutputFileType::object, ".o"}},
        {"assembly", {Halide::OutputFileType::assembly, ".s"}},
        {"stmt", {Halide::OutputFileType::stmt, ".stmt"}},
        {"device_code", {Halide::OutputFileType::device_code, ".device_code"}},
    };
    const std::string function = job.at("function").get<std::string>();
    const std::string base = job.at("folder").get<std::string>() + "/" + function;

    const auto generator =
        make_generator(job.at("generator").get<std::string>(), target, job.at("parameters"));
    const Halide::Module module = generator->build_module(function);
    std::map<Halide::OutputFileType, std::string> files;
    for (const auto &emitted : job.at("emit")) {
        const auto &[type, extension] = outputs.at(emitted.get<std::string>());
        files[type] = base + extension;
    }
    module.compile(files);
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s JOBS.json\n", argv[0]);
        return 2;
    }
    // The schedules say what becomes a vector. Left to itself LLVM also packs the pixels' addresses into
    // vectors and takes them apart again inside the innermost loop (60 instructions for 32 multiply-adds
    // instead of 52).
    setenv("HL_LLVM_ARGS", "-vectorize-slp=false", 1);
    static ErrorReporter reporter;
    Halide::set_custom_compile_time_error_reporter(&reporter);
    try {
        std::ifstream file(argv[1]);
        for (const auto &job : nlohmann::json::parse(file))
            run_job(job);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
