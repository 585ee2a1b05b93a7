"""The library of one layer as a user of Unstride would build it, and what that costs."""

import json
import os
import subprocess
import time

from contender_process import Failure, tail_of


def run(command, log, what, environment=None):
    with open(log, "wb") as output:
        code = subprocess.run(
            command, stdout=output, stderr=output, check=False, env={**os.environ, **(environment or {})}
        ).returncode
    if code != 0:
        raise Failure("generator_error", f"{what} answered {code}: {tail_of(log)}")


class UnstrideLibrary:
    """Built on creation in `folder`, from nothing, with no cache; raises Failure.

    `shared` is a shared object around the library, which exports it by one name.
    """

    def __init__(self, compiler, file, layer, target, folder):
        name = os.path.splitext(os.path.basename(file))[0]
        folder = os.path.join(folder, f"library_{layer}")
        os.makedirs(folder, exist_ok=True)
        log = os.path.join(folder, "log")
        start = time.monotonic()
        run(
            [compiler, "build", file, "--layer", layer, "--target", target, "-o", folder, "--quiet"],
            log,
            "unstride build",
            {"UNSTRIDE_CACHE_DIR": os.path.join(folder, "cache")},
        )
        self.build_s = time.monotonic() - start
        include = os.path.join(folder, target)
        archive = os.path.join(include, f"lib{name}.a")
        self.static_bytes = os.path.getsize(archive)
        self.shared = os.path.join(folder, f"lib{name}.so")
        shim = os.path.join(folder, f"{name}_shim.c")
        with open(shim, "w", encoding="ascii") as source:
            source.write(
                f'#include "{name}.h"\n'
                '__attribute__((visibility("default")))\n'
                "const unstride_library *unstride_bench_library(void) {\n"
                f"    return {name}_library();\n}}\n"
            )
        compile_shared = [
            os.environ.get("CC", "cc"),
            "-std=c11",
            "-O2",
            "-fPIC",
            "-shared",
            "-s",
            "-I",
            include,
        ]
        compile_shared += [shim, archive, "-lpthread", "-ldl", "-lm", "-o", self.shared]
        run(compile_shared, log, "the C compiler")
        with open(os.path.join(include, "manifest.json"), encoding="utf-8") as manifest:
            self.kernels = json.load(manifest)["layers"][0]["kernels"]

    def schedule(self, instruction_set):
        """The record of an instruction set's kernel, or None."""
        return next(
            (kernel["schedule"] for kernel in self.kernels if kernel["instruction_set"] == instruction_set),
            None,
        )
