#!/usr/bin/env python3
"""Measures Unstride and other frameworks on the layers of .layers files, one process each, side by side.

Every contender's result is checked against the double-precision reference before it is timed. Then come
rounds, in each of which all contenders take their samples in random order while all others are stopped.
See docs/benchmarks.md. Needs Python's standard library only; frameworks run in the interpreter of --python.
"""

import argparse
import copy
import json
import os
import shlex
import shutil
import subprocess
import sys

import baseline as baselines
import end_to_end
import scaling
import summary
from budget import seconds_of
from contender_process import Failure
from journal import JournalError
from measurement import SOURCE, Measurement, write_text
from progress import say
from rival_commands import RIVALS, UsageError


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh",
        description="Measures Unstride against other frameworks, each answer checked first.",
        epilog="Results: OUT/results.json, summary.md, report.md, report.html, end_to_end.html and with "
        "--scaling scaling.html. Exit codes: 0 success, 1 a confirmed loss against the baseline or a failure of "
        "Unstride, 2 wrong usage or nothing to compare, 3 nothing could be measured, 130 interrupted.",
    )
    add = parser.add_argument
    add(
        "--layers",
        action="append",
        metavar="FILE",
        help="file of layers, may be given several times (default: all of bench/layers/)",
    )
    add(
        "--scaling",
        action="store_true",
        help="layers named SERIES_NUMBER against that number (default files: bench/scaling/)",
    )
    add("--layer", action="append", metavar="NAME", help="only this layer, may be given several times")
    add(
        "--rivals",
        metavar="LIST",
        help=f"what to measure: {','.join(RIVALS)} (default: all that is installed)",
    )
    add("--rival", action="append", default=[], metavar="NAME=COMMAND", help="one more contender")
    add(
        "--threads",
        metavar="LIST",
        help="thread counts (default: 1,2, as far as there are processors; with --check those of the baseline)",
    )
    add(
        "--quick",
        action="store_true",
        help="4 rounds of 3 samples instead of 8 of 5; of both four times as many where a call takes less than 1 ms",
    )
    add("--rounds", type=int, metavar="N")
    add("--samples", type=int, metavar="N", help="of a round")
    add("--min-ms", type=float, default=1.0, metavar="MS", help="that a sample takes at least (default: 1)")
    add("--budget", metavar="TIME", help="such as 30m or 2h: fewer rounds, and what does not fit is left out")
    add("--resume", action="store_true", help="keep the layers that an earlier run into DIR has finished")
    add("--timeout", type=float, default=180.0, metavar="S", help="for one answer (default: 180)")
    add("--out", default="bench-out", metavar="DIR", help="for the results (default: bench-out)")
    add(
        "--check",
        nargs="?",
        const=os.path.join(SOURCE, "bench", "baselines"),
        metavar="DIR",
        help="fail on losses against the baseline of this kind of machine that a second measurement confirms",
    )
    add("--write-baseline", metavar="FILE", help="write this run's ratios as a baseline")
    add(
        "--unsteady",
        action="store_true",
        help="write a baseline of a run that was not steady too, and mark it",
    )
    add("--programs", default=os.path.join(SOURCE, "build", "bin"), metavar="DIR", help=argparse.SUPPRESS)
    add("--python", default=sys.executable, metavar="PROGRAM", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.threads is None and not options.check:  # a baseline says which
            options.threads = default_threads(len(os.sched_getaffinity(0)), options.scaling)
        if options.threads is not None:
            options.threads = [int(count) for count in options.threads.split(",")]
    except ValueError:
        parser.error(f"--threads: expected numbers such as 1,2, got '{options.threads}'")
    if options.threads and (min(options.threads) < 1 or len(set(options.threads)) < len(options.threads)):
        parser.error("--threads: counts are positive and none stands twice")
    try:
        options.budget = seconds_of(options.budget) if options.budget else None
    except ValueError:
        parser.error(f"--budget: expected a time such as 90s, 30m or 2h, got '{options.budget}'")
    options.rounds = options.rounds or (4 if options.quick else 8)
    options.samples = options.samples or (3 if options.quick else 5)
    if options.rounds < 2 or options.samples < 1 or not options.min_ms > 0:
        parser.error("at least 2 rounds of 1 sample of a positive time are needed")
    if options.layers is None:
        folder = os.path.join(SOURCE, "bench", "scaling" if options.scaling else "layers")
        options.layers = sorted(
            os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".layers")
        )
    for file in options.layers:
        if not os.path.isfile(file):
            parser.error(f"--layers: there is no file {file}")
    return options


def default_threads(processors, scaling_too):
    """One and two; for scaling all powers of two and all processors."""
    counts = {count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count <= (processors if scaling_too else 2)}
    counts = {count for count in counts if count <= processors} | ({processors} if scaling_too else set())
    return ",".join(map(str, sorted(counts)))


def derived(options, folder, rows):
    """The result with all that `unstride compare` derives, which also writes report.md and report.html."""
    results = os.path.join(folder, "results.json")
    compare = [os.path.join(options.programs, "unstride"), "compare", results, "--quiet"]
    if any(row["contender"]["name"] == summary.OWN for row in rows):
        compare += ["--baseline", summary.OWN]
    for form in ("md", "html", "json"):
        subprocess.run([*compare, "--format", form, "-o", os.path.join(folder, f"report.{form}")], check=True)
    with open(os.path.join(folder, "report.json"), encoding="utf-8") as file:
        more_of_rows = json.load(file)["rows"]
    os.remove(os.path.join(folder, "report.json"))
    with open(results, encoding="utf-8") as file:
        document = json.load(file)
    for row, more in zip(document["rows"], more_of_rows):  # same rows, same order
        row["derived"] = more["derived"]
    return document


def report(options, folder, document):
    write_text(os.path.join(folder, "end_to_end.html"), end_to_end.page(document))
    if options.scaling:
        write_text(os.path.join(folder, "scaling.html"), scaling.page(document))
    text = summary.markdown(document)
    if options.scaling:
        text += scaling.markdown(document)
    write_text(os.path.join(folder, "summary.md"), text)
    print(text)


def close(measurement):
    measurement.close()
    shutil.rmtree(measurement.work, ignore_errors=True)


def measure_again(options, only):
    """The result of measuring some (text, threads) of a run once more, into a folder of its own."""
    options = copy.copy(options)
    options.out, options.resume, options.budget = os.path.join(options.out, "again"), False, None
    measurement = Measurement(options)
    try:
        measurement.run(only)
        return derived(options, measurement.folder, measurement.rows)
    finally:
        close(measurement)


def check(document, known, measure_again):
    """Whether no loss against a baseline is confirmed. `measure_again` answers the result of a second measurement
    of these (text, threads)."""
    if not known.get("steady", True):
        say("the baseline was written of a run that was not steady")
    result = baselines.comparison(document, known)
    for line in result.said():
        say(line)
    for key in result.failed:
        say(f"loss: {key}: unstride has no time any more")
    failed = bool(result.failed)
    if result.losses:
        say(f"measuring again what fell: {'; '.join(dict.fromkeys(loss.key for loss in result.losses))}")
        again = baselines.Comparison(measure_again(result.layers_lost()), known, result.threshold)
        for stands, text in result.confirmed_by(again):
            say(f"{'loss' if stands else 'no loss'}: {text}")
            failed = failed or stands
    if failed:
        return False
    result.require_figures()
    return True


def verdict(options, document, known=None, measure_again=None):
    """The exit code of a run that measured."""
    code = 0
    own = [row for row in document["rows"] if row["rival"] == summary.OWN]
    for row in own:
        if row["status"] != "ok":
            where = f"{row['layer']}, {row['threads']} thread(s)"
            say(f"{where}: unstride: {row['status']}: {row.get('detail', '')}")
            code = 1
    if options.write_baseline:
        figures, ratios = baselines.write(document, options.write_baseline, options.unsteady)
        say(
            f"wrote {options.write_baseline}: {figures} layers and thread counts, "
            f"{ratios} with oneDNN's ratio"
        )
    if known and not check(document, known, measure_again):
        code = 1
    return code


def main(arguments):
    options = parse_arguments(arguments)
    measurement = None
    try:
        measurement = Measurement(options)
        measurement.run()
        document = derived(options, measurement.folder, measurement.rows)
        report(options, measurement.folder, document)
        return verdict(options, document, measurement.baseline, lambda only: measure_again(options, only))
    except (UsageError, JournalError, baselines.BaselineError) as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted; --resume continues after the last finished layer")
        return 130
    except Failure as failure:
        say(f"error: {failure.detail}")
        return 3
    except subprocess.CalledProcessError as error:
        say(f"error: {shlex.join(map(str, error.cmd))} answered {error.returncode}")
        return 3
    finally:
        if measurement:
            close(measurement)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
