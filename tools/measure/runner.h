// Where measuring programs run: on this machine, on another one by ssh, or by a command of the user's.
#pragma once

#include "compiler/result.h"
#include "schedules/target_facts.h"
#include "tools/library/process.h"

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace unstride {

// May be used by several threads at once. Whatever was brought to another machine is removed there when the
// runner goes.
class Runner {
public:
    virtual ~Runner() = default;

    // As it was asked for: "local", "ssh:HOST", "command:PREFIX".
    virtual std::string name() const = 0;

    // True if programs run on this machine's own processor, so that host_machine() describes where.
    virtual bool here() const = 0;

    // True if times mean nothing because an emulator runs the programs.
    virtual bool emulated() const = 0;

    // Brings a file or a folder to where programs run. Answers the path there, absolute.
    virtual Result<std::string> prepare(const std::filesystem::path &path) = 0;

    // Runs a prepared program and waits for it, as run_process() does. A signal that ended it is told by the
    // result's signal on every runner; a machine that cannot be reached, by ProcessEnd::not_started.
    virtual ProcessResult run(const std::string &program, const std::vector<std::string> &arguments,
                              std::chrono::milliseconds limit) = 0;

    // Removes what prepare() brought; nothing on this machine.
    virtual void clean_up(const std::string &place) = 0;
};

// "local", "ssh:HOST" (a name of ssh's; needs a key, as nobody is asked for a password) or "command:PREFIX",
// where programs are started as PREFIX PROGRAM ARGUMENTS…, PREFIX split at spaces: "command:qemu-aarch64",
// "command:./on-board.sh". A command sees the paths of this machine. The error says what is wrong with the
// text, or why programs of the target cannot run there.
Result<std::unique_ptr<Runner>> make_runner(const std::string &text, const Target &target);

} // namespace unstride
