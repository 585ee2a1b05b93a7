// The `unstride` command: one file a subcommand, this one only puts them together.
#include "tools/commands.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

namespace {

// What a command printed may be lost only when it is written out, as on a full disk.
bool output_is_lost() {
    return std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
}

int parse_and_run(CLI::App &app, int argc, char **argv, const int *exit_code) {
    try {
        app.parse(argc, argv);
        return *exit_code;
    } catch (const CLI::ParseError &error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception &error) {
        unstride::print_error(error.what());
        return 1;
    }
}

} // namespace

int main(int argc, char **argv) {
    CLI::App app("Compiles upsampling layers, written as text, into static libraries without dependencies.",
                 "unstride");
    app.set_version_flag("--version", "unstride " UNSTRIDE_VERSION " (Halide " UNSTRIDE_HALIDE_VERSION ")");
    app.require_subcommand(1);
    app.footer("Exit codes: 0 success, 1 a layer or a step failed, 2 wrong usage.");
    int exit_code = 0;
    unstride::add_build_command(app, &exit_code);
    unstride::add_run_command(app, &exit_code);
    unstride::add_compare_command(app, &exit_code);
    unstride::add_describe_command(app, &exit_code);
    unstride::add_init_command(app, &exit_code);
    unstride::add_inspect_command(app, &exit_code);
    unstride::add_tune_command(app, &exit_code);
    const int answer = parse_and_run(app, argc, argv, &exit_code);
    if (answer != 0 || !output_is_lost()) return answer;
    unstride::print_error("standard output: cannot write");
    return app.got_subcommand("compare") ? unstride::compare_failed_exit : 1;
}
