"""The contenders: which there are, which are installed, and how each is started."""

import os
import shlex
import subprocess

from progress import say

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rivals")

# What is measured: the program that answers for it, of the build or a script beside this one.
RIVALS = {
    "unstride": "unstride_rival",
    "onednn": "onednn_rival",
    "onednn_openmp": "onednn_openmp_rival",
    "onnxruntime": "onnxruntime_rival.py",
    "openvino": "openvino_rival.py",
    "ncnn": "ncnn_rival.py",
    "litert": "litert_rival.py",
    "torch": "torch_rival.py",
    "opencv": "opencv_rival.py",
    "openblas": "gemm_rival",
    "naive": "naive_rival",
}
PYTHON_MODULES = {"litert": "ai_edge_litert", "opencv": "cv2"}


class UsageError(Exception):
    """Wrong arguments, or a part that is not there; the text says what to do."""


def command_of(name, options):
    """The command line of a rival of the table, or None if it is not installed."""
    program = RIVALS[name]
    if not program.endswith(".py"):
        path = os.path.join(options.programs, program)
        return [path] if os.access(path, os.X_OK) else None
    module = PYTHON_MODULES.get(name, name)
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    installed = subprocess.run([options.python, "-c", probe], check=False).returncode == 0
    script = os.path.join(SCRIPTS, program)
    return [options.python, script] if installed and os.path.exists(script) else None


def chosen_rivals(options):
    """{name: command}; a rival that was asked for by name must be there."""
    names = options.rivals.split(",") if options.rivals else list(RIVALS)
    commands = {}
    for name in names:
        if name not in RIVALS:
            raise UsageError(f"--rivals: there is no '{name}'; there are {', '.join(RIVALS)}")
        command = command_of(name, options)
        if command:
            commands[name] = command
        elif options.rivals:
            raise UsageError(f"--rivals: {name} is not installed; scripts/bench.sh --help says how")
        else:
            say(f"{name} is not installed and left out")
    for rival in options.rival:
        name, equals, command = rival.partition("=")
        if not equals or not shlex.split(command):
            raise UsageError(f"--rival: expected NAME=COMMAND, got '{rival}'")
        commands[name] = shlex.split(command)
    if not commands:
        raise UsageError("there is nothing to measure")
    return commands
