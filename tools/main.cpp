// The `unstride` command: one file a subcommand, this one only puts them together.
#include "tools/commands.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

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
    try {
        app.parse(argc, argv);
        return exit_code;
    } catch (const CLI::ParseError &error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "unstride: %s\n", error.what());
        return 1;
    }
}
