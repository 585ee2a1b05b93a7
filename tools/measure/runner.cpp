// Three ways to start a program.
#include "tools/measure/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstring>
#include <mutex>
#include <set>
#include <sstream>

namespace unstride {

namespace fs = std::filesystem;

namespace {

using std::chrono::milliseconds;

// Programs limit their own memory; an emulator's or ssh's is no business of ours.
ProcessResult start(const std::vector<std::string> &command, milliseconds limit) {
    ProcessResult result = run_process(command, {limit, 0});
    // What a shell makes of a signal.
    if (result.end == ProcessEnd::exited && result.exit_code > 128 && result.exit_code < 128 + SIGRTMIN) {
        result.end = ProcessEnd::signal;
        result.signal = result.exit_code - 128;
        result.exit_code = -1;
    }
    return result;
}

std::vector<std::string> words_of(const std::string &text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;)
        words.push_back(word);
    return words;
}

// Programs are started behind a prefix, which is empty for this machine's own.
class CommandRunner : public Runner {
public:
    explicit CommandRunner(std::vector<std::string> prefix) : prefix_(std::move(prefix)) {}

    std::string name() const override {
        std::string text;
        for (const std::string &word : prefix_)
            text += (text.empty() ? "command:" : " ") + word;
        return text.empty() ? "local" : text;
    }
    bool here() const override { return prefix_.empty(); }
    bool emulated() const override {
        return !prefix_.empty() && fs::path(prefix_[0]).filename().string().starts_with("qemu-");
    }
    Result<std::string> prepare(const fs::path &path) override { return fs::absolute(path).string(); }
    ProcessResult run(const std::string &program, const std::vector<std::string> &arguments,
                      milliseconds limit) override {
        std::vector<std::string> command = prefix_;
        command.push_back(program);
        command.insert(command.end(), arguments.begin(), arguments.end());
        return start(command, limit);
    }
    void clean_up(const std::string &) override {}

private:
    std::vector<std::string> prefix_;
};

// In single quotes, as a POSIX shell reads it back.
std::string shell_word(const std::string &text) {
    std::string result = "'";
    for (const char c : text)
        result += c == '\'' ? "'\\''" : std::string(1, c);
    return result + "'";
}

class SshRunner : public Runner {
public:
    explicit SshRunner(std::string host) : host_(std::move(host)) {}
    ~SshRunner() override {
        if (!folder_.empty()) shell("rm -rf " + shell_word(folder_), short_limit);
    }

    std::string name() const override { return "ssh:" + host_; }
    bool here() const override { return false; }
    bool emulated() const override { return false; }

    Result<std::string> prepare(const fs::path &path) override {
        const std::lock_guard lock(mutex_);
        if (auto made = make_folder(); !made) return Error{made.error()};
        const std::string place = fmt::format("{}/{}", folder_, count_++);
        const ProcessResult copied = start({"scp", "-q", "-r", "-p", "-o", "BatchMode=yes", "--",
                                            fs::absolute(path).string(), fmt::format("{}:{}", host_, place)},
                                           copy_limit);
        if (!copied.ok()) return Error{fmt::format("scp to {} failed: {}", host_, copied.errors)};
        return place;
    }

    ProcessResult run(const std::string &program, const std::vector<std::string> &arguments,
                      milliseconds limit) override {
        std::string command = shell_word(program);
        for (const std::string &argument : arguments)
            command += " " + shell_word(argument);
        // ssh itself tells signals as one code for all; a shell tells them apart.
        ProcessResult result = shell(command + "; exit $?", limit + milliseconds(connection));
        if (result.end == ProcessEnd::exited && result.exit_code == connection_lost) {
            result.end = ProcessEnd::not_started;
            result.errors = fmt::format("ssh to {} failed: {}", host_, result.errors);
        }
        return result;
    }

    void clean_up(const std::string &place) override {
        if (!folder_.empty() && place.starts_with(folder_ + "/"))
            shell("rm -rf " + shell_word(place), short_limit);
    }

private:
    static constexpr milliseconds short_limit{60'000}, copy_limit{600'000}, connection{30'000};
    static constexpr int connection_lost = 255; // ssh's own exit code; measuring programs have none of it

    std::string host_, folder_; // the folder: a fresh one there, made at the first need
    std::mutex mutex_;
    int count_ = 0;

    ProcessResult shell(const std::string &command, milliseconds limit) const {
        return start({"ssh", "-o", "BatchMode=yes", "--", host_, command}, limit);
    }

    Result<void> make_folder() {
        if (!folder_.empty()) return {};
        // Folders of runs that were killed, which every copy to them makes younger. The pattern's end stands
        // apart from the quote, with which it would be a trigraph.
        const ProcessResult made = shell("find /tmp -maxdepth 1 -type d -name 'unstride.??????"
                                         "' -mtime +1 "
                                         "-user \"$(id -u)\" -exec rm -rf {} + 2>/dev/null; "
                                         "mktemp -d /tmp/unstride.XXXXXX",
                                         short_limit);
        const std::string folder = made.output.substr(0, made.output.find('\n'));
        if (!made.ok()) return Error{fmt::format("ssh to {} failed: {}", host_, made.errors)};
        if (!folder.starts_with("/tmp/unstride."))
            return Error{fmt::format("ssh to {}: mktemp answered '{}'", host_, folder)};
        folder_ = folder;
        return {};
    }
};

// A host of ssh's, which must not read as one of its options or as several words.
bool is_host(const std::string &text) {
    const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || std::strchr("@._-:[]%", c); };
    return !text.empty() && text[0] != '-' && std::all_of(text.begin(), text.end(), plain);
}

} // namespace

Result<std::unique_ptr<Runner>> make_runner(const std::string &text, const Target &target) {
    const std::string kind = text.substr(0, text.find(':'));
    const std::string rest = kind.size() < text.size() ? text.substr(kind.size() + 1) : "";
    if (text == "local") {
        const bool foreign = target.name == "aarch64" || host_target().name == "aarch64";
        if (foreign && target.name != host_target().name) {
            return Error{fmt::format("programs of target {} do not run on this machine; use --runner "
                                     "ssh:HOST, or command:PREFIX with an emulator for checks",
                                     target.name)};
        }
        return std::unique_ptr<Runner>(std::make_unique<CommandRunner>(std::vector<std::string>{}));
    }
    if (kind == "ssh" && is_host(rest)) {
        for (const char *program : {"ssh", "scp"}) {
            if (!program_exists(program))
                return Error{fmt::format("runner {} needs {}, which is not in PATH; install openssh-client",
                                         text, program)};
        }
        return std::unique_ptr<Runner>(std::make_unique<SshRunner>(rest));
    }
    if (const auto prefix = words_of(rest); kind == "command" && !prefix.empty()) {
        if (!program_exists(prefix[0]))
            return Error{fmt::format("runner {}: {} is not in PATH and no executable file", text, prefix[0])};
        return std::unique_ptr<Runner>(std::make_unique<CommandRunner>(prefix));
    }
    return Error{fmt::format("runner '{}' is none of local, ssh:HOST and command:PREFIX", text)};
}

} // namespace unstride
