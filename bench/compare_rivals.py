#!/usr/bin/env python3
"""Measures Unstride and other frameworks on the layers of .layers files, one process each, side by side.

Every contender's result is checked against the double-precision reference before it is timed. Then come
rounds, in each of which all contenders take their samples in random order while all others are stopped.
See docs/benchmarks.md. Needs Python's standard library only; frameworks run in the interpreter of --python.
"""

import argparse
import datetime
import json
import math
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys

import baseline as baselines
import summary
from contender_process import ContenderProcess, Failure

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(SOURCE, "bench", "rivals")

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

SLOW_CALL_NS = 0.25e9  # calls beyond this are timed once a round
BUSY_LOAD = 0.5  # average length of the run queue
STEADY_SHARE = 0.9  # of its multiply-adds a steady clock keeps
SEED = 1


class UsageError(Exception):
    """Wrong arguments, or a part that is not there; the text says what to do."""


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh",
        description="Measures Unstride against other frameworks, each answer checked first.",
        epilog="Results: OUT/results.json, summary.md, report.md and report.html. Exit codes: 0 success, 1 a "
        "loss against the baseline or a failure of Unstride, 2 wrong usage, 3 nothing could be measured.",
    )
    add = parser.add_argument
    add(
        "--layers",
        action="append",
        metavar="FILE",
        help="file of layers, may be given several times (default: all of bench/layers/)",
    )
    add("--layer", action="append", metavar="NAME", help="only this layer, may be given several times")
    add(
        "--rivals",
        metavar="LIST",
        help=f"what to measure: {','.join(RIVALS)} (default: all that is installed)",
    )
    add("--rival", action="append", default=[], metavar="NAME=COMMAND", help="one more contender")
    add("--threads", metavar="LIST", help="thread counts (default: 1,2, as far as there are processors)")
    add("--quick", action="store_true", help="4 rounds of 3 samples instead of 8 of 5")
    add("--rounds", type=int, metavar="N")
    add("--samples", type=int, metavar="N", help="of a round")
    add("--min-ms", type=float, default=1.0, metavar="MS", help="that a sample takes at least (default: 1)")
    add("--timeout", type=float, default=180.0, metavar="S", help="for one answer (default: 180)")
    add("--out", default="bench-out", metavar="DIR", help="for the results (default: bench-out)")
    add(
        "--check",
        nargs="?",
        const=os.path.join(SOURCE, "bench", "baselines"),
        metavar="DIR",
        help="fail on losses against the baseline of this kind of machine",
    )
    add("--write-baseline", metavar="FILE", help="write this run's ratios as a baseline")
    add("--programs", default=os.path.join(SOURCE, "build", "bin"), metavar="DIR", help=argparse.SUPPRESS)
    add("--python", default=sys.executable, metavar="PROGRAM", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.threads is None:
            options.threads = "1" if len(os.sched_getaffinity(0)) == 1 else "1,2"
        options.threads = [int(count) for count in options.threads.split(",")]
    except ValueError:
        parser.error(f"--threads: expected numbers such as 1,2, got '{options.threads}'")
    if min(options.threads) < 1 or len(set(options.threads)) < len(options.threads):
        parser.error("--threads: counts are positive and none stands twice")
    options.rounds = options.rounds or (4 if options.quick else 8)
    options.samples = options.samples or (3 if options.quick else 5)
    if options.rounds < 2 or options.samples < 1 or not options.min_ms > 0:
        parser.error("at least 2 rounds of 1 sample of a positive time are needed")
    if options.layers is None:
        folder = os.path.join(SOURCE, "bench", "layers")
        options.layers = sorted(
            os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".layers")
        )
    for file in options.layers:
        if not os.path.isfile(file):
            parser.error(f"--layers: there is no file {file}")
    return options


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def distinct_cores(processors):
    """The processors, one of every core before the second of any."""

    def siblings(processor):
        try:
            with open(
                f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list", encoding="ascii"
            ) as file:
                return file.read().strip()
        except OSError:
            return str(processor)

    first, second, seen = [], [], set()
    for processor in sorted(processors):
        core = siblings(processor)
        (second if core in seen else first).append(processor)
        seen.add(core)
    return first + second


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


def build_library(options, file, target, folder):
    """A shared object around the generated library of a file of layers, which exports it by one name."""
    name = os.path.splitext(os.path.basename(file))[0]
    compiler = os.path.join(options.programs, "unstride")
    subprocess.run(
        [compiler, "build", file, "--target", target, "-o", folder, "--quiet"], check=True, stdout=sys.stderr
    )
    shim = os.path.join(folder, f"{name}_shim.c")
    with open(shim, "w", encoding="ascii") as source:
        source.write(
            f'#include "{name}.h"\n'
            '__attribute__((visibility("default"))) const unstride_library *unstride_bench_library(void) {\n'
            f"    return {name}_library();\n}}\n"
        )
    include = os.path.join(folder, target)
    shared = os.path.join(folder, f"lib{name}.so")
    subprocess.run(
        [
            os.environ.get("CC", "cc"),
            "-std=c11",
            "-O2",
            "-fPIC",
            "-shared",
            "-I",
            include,
            shim,
            os.path.join(include, f"lib{name}.a"),
            "-lpthread",
            "-ldl",
            "-lm",
            "-o",
            shared,
        ],
        check=True,
    )
    return shared


def public_path(file):
    """A file of the repository by its path there, another by its name alone."""
    path = os.path.relpath(os.path.abspath(file), SOURCE)
    return os.path.basename(file) if path.startswith(os.pardir) else path


class Contender:
    """One variant and form of one rival on one layer, and what came of it."""

    def __init__(self, rival, command, variant="", form=0, form_name="", twin=False):
        self.rival, self.command, self.variant, self.form, self.twin = rival, command, variant, form, twin
        parts = [rival, variant, f"({form_name})" if form_name else "", "again" if twin else ""]
        self.name = " ".join(part for part in parts if part)
        self.process, self.failure = None, None
        self.facts, self.rounds, self.correct = {}, [], None

    def close(self):
        if self.process:
            self.process.close()
            self.process = None

    def fail(self, failure):
        self.failure = failure
        self.close()


class Measurement:
    """All that one run shares."""

    def __init__(self, options):
        self.options = options
        self.folder = os.path.abspath(options.out)
        self.work = os.path.join(self.folder, "work")
        os.makedirs(self.work, exist_ok=True)
        self.rivals = chosen_rivals(options)
        self.support = self.start_support("support")
        self.machine = self.ask({"command": "machine"})
        load = self.machine["source"].get("load", 0)
        if load > BUSY_LOAD:
            say(f"other programs are running (load {load:.1f}); times will scatter, those of threads most")
        self.processors = distinct_cores(os.sched_getaffinity(0))
        if max(options.threads) > len(self.processors):
            raise UsageError(f"--threads: this process may use {len(self.processors)} processors only")
        self.random = random.Random(SEED)
        self.identities, self.rows, self.noise, self.probes = (
            {},
            [],
            [],
            {count: [] for count in options.threads},
        )

    def start_support(self, name, processors=None):
        program = os.path.join(self.options.programs, "unstride_bench_support")
        if not os.access(program, os.X_OK):
            raise UsageError(f"{program} is missing; build the target unstride_bench_rivals")
        return ContenderProcess([program], os.path.join(self.work, f"{name}.log"), processors)

    def ask(self, message):
        return self.support.request(message, 3600)

    def run(self):
        done = set()
        for file in self.options.layers:
            problems = os.path.join(self.work, os.path.splitext(os.path.basename(file))[0])
            os.makedirs(problems, exist_ok=True)
            layers = self.ask({"command": "layers", "file": file})["layers"]
            wanted = [
                layer for layer in layers if not self.options.layer or layer["name"] in self.options.layer
            ]
            commands = dict(self.rivals)
            if "unstride" in commands and wanted:
                commands["unstride"] = [
                    *commands["unstride"],
                    build_library(self.options, file, self.machine["target"], problems),
                ]
            for layer in wanted:
                if not layer["fixed"]:
                    say(f"{layer['name']} has sizes known at run time only and is left out")
                elif layer["text"] not in done:
                    done.add(layer["text"])
                    self.measure_layer(file, layer["name"], commands, problems)
        if not self.rows:
            raise UsageError("no layer of fixed sizes was found")

    def measure_layer(self, file, name, commands, folder):
        problem = self.ask({"command": "prepare", "file": file, "layer": name, "folder": folder})
        for threads in self.options.threads:
            say(f"{name}, {threads} thread(s)")
            contenders = self.contenders_of(problem, commands)
            try:
                for contender in contenders:
                    self.prepare(contender, problem, threads)
                self.sample_rounds(contenders, threads)
                self.keep(contenders, problem, file, threads)
            finally:
                for contender in contenders:
                    contender.close()
        shutil.rmtree(os.path.join(folder, "references"), ignore_errors=True)

    def identity(self, rival, command):
        """What a rival says of itself, asked once; a Failure if it cannot."""
        if rival not in self.identities:
            try:
                process = ContenderProcess(command, os.path.join(self.work, f"{rival}.log"))
                try:
                    self.identities[rival] = process.request({"command": "describe"}, self.options.timeout)
                finally:
                    process.close()
            except Failure as failure:
                self.identities[rival] = failure
        return self.identities[rival]

    def contenders_of(self, problem, commands):
        contenders = []
        for rival, command in commands.items():
            identity = self.identity(rival, command)
            if isinstance(identity, Failure):
                contenders.append(Contender(rival, command))
                contenders[-1].failure = identity
                continue
            for variant in identity["variants"]:
                forms = problem["forms"][:1] if rival == "unstride" else problem["forms"]
                for number, form in enumerate(forms):
                    contenders.append(Contender(rival, command, variant, number, form["name"]))
                    contenders[-1].facts.update(
                        version=identity["version"], library_bytes=identity.get("library_bytes")
                    )
        if "unstride" in commands:
            contenders.append(Contender("unstride", commands["unstride"], twin=True))
        return contenders

    def prepare(self, contender, problem, threads):
        """Starts, loads, runs once, checks; leaves the process stopped."""
        if contender.failure:
            return
        environment = {
            name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DPCPP_CPU_NUM_CUS")
        }
        log = os.path.join(self.work, f"{contender.rival}.log")
        seconds = self.options.timeout
        try:
            contender.process = ContenderProcess(
                contender.command, log, self.processors[:threads], environment
            )
            reply = contender.process.request(
                {
                    "command": "load",
                    "problem": problem["path"],
                    "form": contender.form,
                    "variant": contender.variant,
                    "threads": threads,
                },
                seconds,
            )
            if "unsupported" in reply:
                raise Failure("constraint", f"unsupported: {reply['unsupported']}")
            contender.facts.update(implementation=reply["implementation"], load_s=reply["load_seconds"])
            output = os.path.join(self.work, "output")
            reply = contender.process.request({"command": "run_once", "output": output}, seconds)
            contender.facts["first_call_ns"] = reply["first_call_ns"]
            contender.facts["process_peak_bytes"] = contender.process.peak_bytes()
            contender.process.stop()
            checked = self.ask({"command": "check", "problem": problem["path"], "output": output})
            os.remove(output)
            if "wrong" in checked:
                raise Failure("wrong_answer", checked["wrong"])
            contender.correct = checked["max_relative"]
        except Failure as failure:
            contender.fail(failure)

    def sample_rounds(self, contenders, threads):
        probe = self.start_support("probe", self.processors[:threads])
        try:
            probe.stop()
            for _ in range(self.options.rounds):
                alive = [contender for contender in contenders if contender.process]
                if not alive:
                    return
                turns = [*alive, None]
                self.random.shuffle(turns)
                for contender in turns:
                    if contender is None:
                        self.probe(probe, threads)
                    else:
                        self.sample(contender)
        finally:
            probe.close()

    def probe(self, process, threads):
        process.resume()
        message = {"command": "probe", "instruction_set": self.machine["instruction_set"], "threads": threads}
        self.probes[threads].append(process.request(message, self.options.timeout))
        process.stop()

    def sample(self, contender):
        slow = contender.facts["first_call_ns"] > SLOW_CALL_NS
        message = {
            "command": "sample",
            "min_ms": self.options.min_ms,
            "warm_ms": 0.0 if slow else 3 * self.options.min_ms,
            "count": 1 if slow else self.options.samples,
        }
        try:
            contender.process.resume()
            contender.rounds.append(contender.process.request(message, self.options.timeout)["ns"])
            contender.process.stop()
        except Failure as failure:
            contender.fail(failure)

    def keep(self, contenders, problem, file, threads):
        shared = {
            "source": 0,
            "layer": problem["name"],
            "text": problem["text"],
            "input_shape": problem["input_shape"],
            "instruction_set": self.machine["instruction_set"],
            "threads": threads,
            "multiplications": problem["multiplications"],
            "compulsory_bytes": problem["compulsory_bytes"],
            "static": {},
        }
        estimates = {}
        for contender in contenders:
            row = self.row(contender, shared, file)
            if row["status"] == "ok":
                estimates[contender.name] = row["est_ns"]
            if not contender.twin:
                self.rows.append(row)
        if "unstride" in estimates and "unstride again" in estimates:
            self.noise.append(abs(math.log(estimates["unstride again"] / estimates["unstride"])))
        self.write_results()

    def row(self, contender, shared, file):
        facts = contender.facts
        identity = {
            "name": contender.name,
            "version": facts.get("version", ""),
            "implementation": facts.get("implementation", ""),
        }
        row = {
            **shared,
            "rival": contender.rival,
            "contender": {key: text for key, text in identity.items() if text},
            "reproduce": f"scripts/bench.sh --layers {public_path(file)} --layer {shared['layer']} "
            f"--rivals {contender.rival} --threads {shared['threads']}",
        }
        for key in ("library_bytes", "load_s", "first_call_ns", "process_peak_bytes"):
            if facts.get(key) is not None:
                row[key] = facts[key]
        if contender.correct is not None:
            row["correct"] = {
                "reference": "double precision",
                "shapes": 1,
                "max_relative": contender.correct,
                "max_ulp": 0,
            }
        if contender.failure:
            return {**row, "status": contender.failure.status, "detail": contender.failure.detail}
        return {
            **row,
            "status": "ok",
            "samples_ns": contender.rounds,
            **self.ask({"command": "estimate", "rounds": contender.rounds}),
        }

    def source(self):
        options = self.options
        source = {
            **self.machine["source"],
            "peaks": [],
            "bandwidths": [],
            "when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "command": "scripts/bench.sh --threads "
            + ",".join(map(str, options.threads))
            + (" --quick" if options.quick else ""),
            "protocol": {
                "rounds": options.rounds,
                "samples_per_round": options.samples,
                "sample_s": options.min_ms * 1e-3,
                "interleaved": True,
                "cold": False,
                "seed": SEED,
            },
        }
        commit = subprocess.run(
            ["git", "-C", SOURCE, "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
        if commit.returncode == 0:
            source["commit"] = commit.stdout.strip()
        unsteady = []
        for threads, probes in self.probes.items():
            if not probes:
                continue
            flops, width = ([probe[key] for probe in probes] for key in ("flops", "bytes_per_s"))
            # Other programs only ever take away.
            source["peaks"].append(
                {"instruction_set": self.machine["instruction_set"], "threads": threads, "flops": max(flops)}
            )
            source["bandwidths"].append({"level": "memory", "threads": threads, "bytes_per_s": max(width)})
            if statistics.median(flops) < STEADY_SHARE * max(flops):
                unsteady.append(
                    f"with {threads} thread(s) half of the probes reached less than "
                    f"{100 * STEADY_SHARE:.0f} % of the peak"
                )
        if unsteady:
            source["unsteady"] = "; ".join(unsteady)
        if self.noise:
            source["noise_floor"] = statistics.median(self.noise)
        return source

    def write_results(self):
        write_text(
            os.path.join(self.folder, "results.json"),
            json.dumps(
                {"schema": 1, "sources": [self.source()], "rows": self.rows, "searches": []}, indent=1
            ),
        )

    def close(self):
        self.support.close()


def write_text(path, text):
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def report(options, folder, rows):
    """The result with all that `unstride compare` derives, which also writes report.md and report.html."""
    results = os.path.join(folder, "results.json")
    compare = [os.path.join(options.programs, "unstride"), "compare", results, "--quiet"]
    if any(row["contender"]["name"] == summary.OWN for row in rows):
        compare += ["--baseline", summary.OWN]
    for form in ("md", "html", "json"):
        subprocess.run([*compare, "--format", form, "-o", os.path.join(folder, f"report.{form}")], check=True)
    with open(os.path.join(folder, "report.json"), encoding="utf-8") as file:
        derived = json.load(file)
    os.remove(os.path.join(folder, "report.json"))
    with open(results, encoding="utf-8") as file:
        document = json.load(file)
    for row, more in zip(document["rows"], derived["rows"]):  # same rows, same order
        row["derived"] = more["derived"]
    text = summary.markdown(document)
    write_text(os.path.join(folder, "summary.md"), text)
    print(text)
    return document


def verdict(options, document):
    """The exit code of a run that measured."""
    code = 0
    own = [row for row in document["rows"] if row["rival"] == summary.OWN]
    for row in own:
        if row["status"] != "ok":
            where = f"{row['layer']}, {row['threads']} thread(s)"
            say(f"{where}: unstride: {row['status']}: {row.get('detail', '')}")
            code = 1
    if options.write_baseline:
        baselines.write(document, options.write_baseline)
        say(f"wrote {options.write_baseline}")
    if options.check:
        known = baselines.read_for(document["sources"][0]["machine"], options.check)
        compared, lost = baselines.losses(document, known)
        for loss in lost:
            say(f"loss: {loss}")
        say(f"{compared} figures compared with the baseline, {len(lost)} lost")
        code = 1 if lost or compared == 0 else code
    return code


def main(arguments):
    options = parse_arguments(arguments)
    measurement = None
    try:
        measurement = Measurement(options)
        measurement.run()
        return verdict(options, report(options, measurement.folder, measurement.rows))
    except (UsageError, baselines.BaselineError) as error:
        say(f"error: {error}")
        return 2
    except Failure as failure:
        say(f"error: {failure.detail}")
        return 3
    except subprocess.CalledProcessError as error:
        say(f"error: {shlex.join(map(str, error.cmd))} answered {error.returncode}")
        return 3
    finally:
        if measurement:
            measurement.close()
            shutil.rmtree(measurement.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
