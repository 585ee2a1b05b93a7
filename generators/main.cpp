// The generator program: compiles the jobs that a file describes, one generated function each, to objects.
//
// Usage: unstride-generators JOBS.json. The file is an array of
//   {"generator": "phase_convolution", "function": NAME, "folder": DIR, "target": HALIDE TARGET,
//    "emit": ["object", "assembly", "stmt"], "parameters": {"layer": …, "schedule": …, "instruction_set": …}}
// and {"runtime": FILE.o, "target": HALIDE TARGET} for a standalone runtime. Exit code 0 if every job
// succeeded.
#include <Halide.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <string>

namespace {

void run_job(const nlohmann::json &job) {
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

    const auto &registry = Halide::Internal::get_registered_generators();
    auto generator =
        registry.create(job.at("generator").get<std::string>(), Halide::GeneratorContext(target));
    for (const auto &[name, value] : job.at("parameters").items()) {
        generator->set_generatorparam_value(name, value.get<std::string>());
    }
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
