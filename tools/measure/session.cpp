// What the measuring program prints becomes results and failures here.
#include "tools/measure/session.h"

#include "compiler/lowering/costs.h"
#include "tools/files.h"
#include "tools/library/description.h"
#include "tools/measure/program.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <csignal>
#include <new>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace unstride {

namespace fs = std::filesystem;

struct MeasuringSession::State {
    std::vector<Layer> sizes;        // the last is timed
    std::vector<std::string> places; // of their data, where programs run
    Device device = Device::cpu;
    MeasuringObjects common;
    Runner *runner = nullptr;
    fs::path work;
    SessionOptions options;

    std::vector<std::string> timing_arguments(const TimingProtocol &protocol,
                                              const std::string &instruction_set) const;
};

namespace {

// Exit codes of the measuring program, see tools/runner/measure_memory.h.
constexpr int exit_wrong = 2, exit_memory = 3;

// Beyond its own limit, for starting and for what an emulator or a connection takes.
constexpr std::chrono::milliseconds patience{5000};

std::string last_line(std::string text) {
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text.substr(text.find_last_of('\n') + 1);
}

// The lines that are JSON: the last one may be cut.
std::vector<nlohmann::json> lines_of(const std::string &output) {
    std::vector<nlohmann::json> lines;
    std::istringstream stream(output);
    for (std::string line; std::getline(stream, line);) {
        auto json = nlohmann::json::parse(line, nullptr, false);
        if (json.is_object()) lines.push_back(std::move(json));
    }
    return lines;
}

bool timed_out(const ProcessResult &process) {
    return process.end == ProcessEnd::timeout ||
           (process.end == ProcessEnd::signal && process.signal == SIGALRM);
}

// Of a program that neither succeeded nor found a wrong answer.
Failure failure_of(const ProcessResult &process, std::chrono::milliseconds limit) {
    const std::string said = last_line(process.errors);
    if (process.end == ProcessEnd::not_started) return {TuningStatus::run_crash, said, true};
    if (timed_out(process)) {
        return {TuningStatus::run_timeout,
                fmt::format("not finished after {} s", std::chrono::duration<double>(limit).count())};
    }
    if (process.exit_code == exit_memory || ran_out_of_memory(process))
        return {TuningStatus::resource_limit, said.empty() ? "out of memory" : said};
    if (process.end != ProcessEnd::signal) {
        return {TuningStatus::run_crash,
                said.empty() ? fmt::format("ended with exit code {}", process.exit_code) : said};
    }
    // What a fault handler wrote is the line before what we or a shell add about the signal.
    const std::string name = signal_name(process.signal);
    const std::size_t touched = process.errors.find("touched memory"),
                      wrote = process.errors.find("wrote to what"), at = std::min(touched, wrote);
    if (at == std::string::npos) return {TuningStatus::run_crash, name};
    return {TuningStatus::run_crash,
            name + ": " + process.errors.substr(at, process.errors.find('\n', at) - at)};
}

std::string option(const char *key, const std::string &value) {
    return fmt::format("{}={}", key, value);
}

std::string sizes_text(const Layer &layer) {
    const Shape shape{layer.input.batch, layer.input.spatial, layer.input.channels};
    std::string text;
    for (const std::int64_t size : sizes_in_order(shape, layer.input.layout))
        text += (text.empty() ? "" : "x") + std::to_string(size);
    return text;
}

// Four times the tensors, as an output with gaps takes up to twice the memory and what is expected is mapped
// too; address space that the C library sets aside for each thread; and something for everything else.
std::int64_t memory_limit(const SessionOptions &options, const Layer &layer, Device device) {
    if (device != Device::cpu) return 0; // drivers take address space as they like
    if (options.memory_bytes > 0) return options.memory_bytes;
    const std::int64_t threads = std::max<std::int64_t>(options.threads, std::thread::hardware_concurrency());
    return 4 * tensor_bytes(layer) + (threads << 27) + (std::int64_t{2} << 30);
}

// A program that is where it runs; gone with the object.
class PreparedProgram {
public:
    static Outcome<std::unique_ptr<PreparedProgram>> make(const MeasuringObjects &common,
                                                          const std::vector<const Candidate *> &candidates,
                                                          Runner &runner, const fs::path &work) {
        auto folder = make_temporary_folder("measure", work);
        if (!folder) return Failure{TuningStatus::link_error, folder.error(), true};
        const auto program = link_measuring_program(common, candidates, folder->path());
        if (!program) return Failure{TuningStatus::link_error, program.error()};
        auto place = runner.prepare(*program);
        if (!place) return Failure{TuningStatus::run_crash, place.error(), true};
        return std::unique_ptr<PreparedProgram>(new PreparedProgram(std::move(*folder), *place, runner));
    }
    ~PreparedProgram() { runner_.clean_up(place_); }
    PreparedProgram(const PreparedProgram &) = delete;
    PreparedProgram &operator=(const PreparedProgram &) = delete;

    // With a limit that the program keeps to by itself.
    ProcessResult run(std::vector<std::string> arguments, std::chrono::milliseconds limit) const {
        arguments.push_back(
            option("seconds", fmt::format("{:.3f}", static_cast<double>(limit.count()) * 1e-3)));
        return runner_.run(place_, arguments, limit + patience);
    }

private:
    PreparedProgram(TemporaryFolder folder, std::string place, Runner &runner)
        : folder_(std::move(folder)), place_(std::move(place)), runner_(runner) {}

    TemporaryFolder folder_;
    std::string place_;
    Runner &runner_;
};

// What one timing program told.
struct Told {
    std::vector<Rounds> rounds; // of every candidate, as far as they came
    std::vector<std::optional<std::string>> problems;
    std::vector<double> peak_gflops, load;
    int threads = 0;
    std::optional<std::size_t> running; // when it ended
};

Told read_timing(const std::string &output, std::size_t candidates) {
    Told told;
    told.rounds.resize(candidates);
    told.problems.resize(candidates);
    for (const nlohmann::json &line : lines_of(output)) {
        told.threads = line.value("threads", told.threads);
        if (line.contains("start")) told.running = line["start"].get<std::size_t>();
        if (line.contains("peak_gflops")) {
            told.peak_gflops.push_back(line["peak_gflops"]);
            told.load.push_back(line["load"]);
            told.running.reset();
        }
        if (!line.contains("candidate")) continue;
        const auto index = line["candidate"].get<std::size_t>();
        told.running.reset();
        if (index >= candidates) continue;
        if (line.contains("problem")) told.problems[index] = line["problem"];
        if (!line.contains("ns")) continue;
        told.rounds[index].resize(told.peak_gflops.size());
        told.rounds[index].back().push_back(line["ns"]);
    }
    return told;
}

using Failures = std::vector<std::optional<Failure>>;

TimingRun all_failed(const Failures &failures) {
    TimingRun run;
    for (const std::optional<Failure> &failure : failures)
        run.candidates.emplace_back(*failure);
    return run;
}

// `told` is of the candidates that did not fail before.
TimingRun timing_run(Told told, const Failures &failures) {
    TimingRun run;
    std::size_t place = 0; // among the active
    for (std::size_t i = 0; i < failures.size(); i++) {
        if (failures[i]) {
            run.candidates.emplace_back(*failures[i]);
            continue;
        }
        if (told.problems[place]) {
            run.candidates.emplace_back(Failure{TuningStatus::wrong_answer, *told.problems[place]});
        } else {
            run.candidates.emplace_back(std::move(told.rounds[place]));
        }
        place++;
    }
    run.peak_gflops = std::move(told.peak_gflops);
    run.load = std::move(told.load);
    run.threads = told.threads;
    return run;
}

// Drops the rounds that not every right candidate has whole.
void keep_whole_rounds(Told *told, std::size_t samples) {
    std::size_t whole = told->peak_gflops.size();
    for (std::size_t i = 0; i < told->rounds.size(); i++) {
        if (told->problems[i]) continue;
        Rounds &rounds = told->rounds[i];
        while (!rounds.empty() && rounds.back().size() < samples)
            rounds.pop_back();
        whole = std::min(whole, rounds.size());
    }
    for (Rounds &rounds : told->rounds)
        rounds.resize(std::min(whole, rounds.size()));
    told->peak_gflops.resize(whole);
    told->load.resize(whole);
}

} // namespace

std::vector<std::string> MeasuringSession::State::timing_arguments(const TimingProtocol &protocol,
                                                                   const std::string &instruction_set) const {
    const Layer &layer = sizes.back();
    return {"time",
            option("folder", places.back()),
            option("sizes", sizes_text(layer)),
            option("threads", std::to_string(options.threads)),
            option("memory", std::to_string(memory_limit(options, layer, device))),
            option("rounds", std::to_string(protocol.rounds)),
            option("samples", std::to_string(protocol.samples)),
            option("milliseconds", fmt::format("{}", protocol.sample_milliseconds)),
            option("cold", protocol.cold ? "1" : "0"),
            option("seed", std::to_string(protocol.seed)),
            option("instruction_set", device == Device::cpu ? instruction_set : "-")};
}

Result<Machine> machine_of(Runner &runner, const Target &target, const Installation &installation,
                           const fs::path &work) {
    if (runner.emulated()) return Machine{};
    constexpr std::chrono::milliseconds limit{10'000};
    auto common = compile_measuring_objects(target, installation, cache_folder());
    if (!common) return Error{common.error()};
    const auto program = PreparedProgram::make(*common, {}, runner, work);
    if (!program) return Error{program.failure().detail};
    const ProcessResult process = (*program)->run({"machine"}, limit);
    if (!process.ok()) return Error{failure_of(process, limit).detail};
    const auto lines = lines_of(process.output);
    std::string error = "it printed nothing about it";
    const auto machine = lines.empty() ? std::nullopt : machine_from_json(lines.back(), &error);
    if (!machine) return Error{fmt::format("the machine of runner {}: {}", runner.name(), error)};
    return *machine;
}

MeasuringSession::MeasuringSession(std::unique_ptr<State> state) : state_(std::move(state)) {}
MeasuringSession::MeasuringSession(MeasuringSession &&) noexcept = default;
MeasuringSession &MeasuringSession::operator=(MeasuringSession &&other) noexcept {
    std::swap(state_, other.state_);
    return *this;
}
MeasuringSession::~MeasuringSession() {
    for (std::size_t i = 0; state_ && i < state_->places.size(); i++)
        state_->runner->clean_up(state_->places[i]);
}

namespace {

// Data too large for this machine are the layer's failure, and no other's.
Result<fs::path> make_data(const Layer &layer, std::uint64_t seed, const fs::path &cache) {
    try {
        return make_problem_data(layer, seed, cache);
    } catch (const std::bad_alloc &) {
        return Error{"there is not enough memory for its data"};
    } catch (const std::length_error &) {
        return Error{"there is not enough memory for its data"};
    }
}

} // namespace

Result<MeasuringSession> MeasuringSession::open(const Layer &layer, const Target &target,
                                                const Installation &installation, Runner &runner,
                                                const fs::path &work, const SessionOptions &options) {
    auto state = std::make_unique<State>();
    std::error_code error;
    fs::create_directories(work, error);
    if (error) return Error{fmt::format("cannot create {}: {}", work.string(), error.message())};
    state->sizes = measured_sizes(layer);
    state->device = target.instruction_sets[0].device;
    state->runner = &runner;
    state->work = work;
    state->options = options;
    const fs::path cache = cache_folder();
    auto common = compile_measuring_objects(target, installation, cache);
    if (!common) return Error{common.error()};
    state->common = std::move(*common);
    MeasuringSession session(std::move(state));
    for (const Layer &sized : session.state_->sizes) {
        const auto data = make_data(sized, options.seed, cache);
        if (!data) return Error{data.error()};
        auto place = runner.prepare(*data);
        if (!place) return Error{place.error()};
        session.state_->places.push_back(std::move(*place));
    }
    return session;
}

const Layer &MeasuringSession::timed_layer() const {
    return state_->sizes.back();
}

double MeasuringSession::operations() const {
    const Layer &layer = timed_layer();
    const auto lowered = lower(layer);
    const auto *convolution = std::get_if<PhaseConvolution>(&lowered);
    if (convolution == nullptr) return 0;
    return 2 * costs(*convolution, layer.input.batch, layer.input.spatial).multiplications;
}

Outcome<CheckedCandidate> MeasuringSession::check(const Candidate &candidate) const {
    const auto program = PreparedProgram::make(state_->common, {&candidate}, *state_->runner, state_->work);
    if (!program) return program.failure();
    CheckedCandidate checked;
    checked.correctness.reference = "double precision";
    for (std::size_t i = 0; i < state_->sizes.size(); i++) {
        const Layer &sized = state_->sizes[i];
        const std::string sizes = sizes_text(sized);
        const auto at_size = [&](Failure failure) {
            failure.detail += fmt::format(" (input {})", sizes);
            return failure;
        };
        const std::int64_t memory = memory_limit(state_->options, sized, state_->device);
        const ProcessResult process =
            (*program)->run({"check", option("folder", state_->places[i]), option("sizes", sizes),
                             option("threads", std::to_string(state_->options.threads)),
                             option("memory", std::to_string(memory))},
                            state_->options.check_limit);
        if (!process.ok() && process.exit_code != exit_wrong)
            return at_size(failure_of(process, state_->options.check_limit));
        const auto lines = lines_of(process.output);
        if (lines.empty() || !lines.back().contains("problem"))
            return at_size({TuningStatus::run_crash, "the measuring program printed no result"});
        const nlohmann::json &told = lines.back();
        if (!process.ok()) return at_size({TuningStatus::wrong_answer, told["problem"].get<std::string>()});
        Correctness &correctness = checked.correctness;
        correctness.shapes++;
        correctness.max_relative = std::max(correctness.max_relative, told["max_relative"].get<double>());
        correctness.max_ulp = std::max(correctness.max_ulp, told["max_ulp"].get<double>());
        checked.call_nanoseconds = told["ns"];
        checked.scratch_bytes = told["scratch_bytes"];
        checked.outputs += told["output"].get<std::string>();
        checked.threads = told["threads"];
    }
    return checked;
}

Result<TimingRun> MeasuringSession::time(const std::vector<const Candidate *> &candidates,
                                         const TimingProtocol &protocol) const {
    if (state_->runner->emulated())
        return Error{fmt::format("runner {} emulates a processor: its times mean nothing; use it for checks",
                                 state_->runner->name())};
    if (protocol.cold && state_->device != Device::cpu)
        return Error{"caches can be emptied before calls on processors only; leave out cold timing"};
    if (candidates.empty()) return TimingRun{};
    const std::vector<std::string> arguments =
        state_->timing_arguments(protocol, candidates[0]->facts.instruction_set);
    Failures failures(candidates.size());
    while (true) {
        std::vector<std::size_t> active; // not failed
        std::vector<const Candidate *> chosen;
        for (std::size_t i = 0; i < candidates.size(); i++) {
            if (failures[i]) continue;
            active.push_back(i);
            chosen.push_back(candidates[i]);
        }
        if (active.empty()) return all_failed(failures);
        const auto program = PreparedProgram::make(state_->common, chosen, *state_->runner, state_->work);
        if (!program) return Error{program.failure().detail};
        const ProcessResult process = (*program)->run(arguments, protocol.limit);
        Told told = read_timing(process.output, active.size());
        keep_whole_rounds(&told, static_cast<std::size_t>(protocol.samples));
        if (process.ok() || process.exit_code == exit_wrong ||
            (timed_out(process) && !told.peak_gflops.empty()))
            return timing_run(std::move(told), failures);
        const Failure failure = failure_of(process, protocol.limit);
        if (failure.of_environment || !told.running || *told.running >= active.size())
            return Error{failure.detail};
        failures[active[*told.running]] = failure;
    }
}

} // namespace unstride
