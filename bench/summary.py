"""What a comparison of rivals says in Markdown: where this project is behind comes first.

summary.py RESULTS.json           all of it; verdicts are in summary.md only
summary.py RESULTS.json --table   the measured table of docs/performance.md: layers, and means by class
"""

import argparse
import json
import math
import statistics
import sys

from layer_text import CLASSES, OTHERS, classes_of
from roof import roof_of

OWN = "unstride"
TEXTBOOK = ("naive", "openblas")  # methods of a page, no frameworks


def rival_of(row):
    """The framework of a row, without variant and form."""
    return row.get("rival", row["contender"]["name"])


def groups(rows):
    """The rows of each (layer text, threads), in the order of the file."""
    result = {}
    for row in rows:
        result.setdefault((row["text"], row["threads"]), []).append(row)
    return list(result.values())


def timed(rows):
    return [row for row in rows if row["status"] == "ok"]


def own_row(rows):
    return next((row for row in timed(rows) if rival_of(row) == OWN), None)


def rewritten(row):
    """Whether a rival runs a layer of fewer products that its own amounts to."""
    return any(form in row["contender"]["name"] for form in ("(by channel", "(folded"))


def best_of(rows, as_written=False):
    """The fastest row of other frameworks, or None; without layers written anew if `as_written`."""
    others = [row for row in timed(rows) if rival_of(row) != OWN and not (as_written and rewritten(row))]
    return min(others, key=lambda row: row["est_ns"], default=None)


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def time_text(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return (
                f"{nanoseconds / size:.3g} {unit}"
                if nanoseconds < 1000 * size
                else f"{nanoseconds / size:.0f} {unit}"
            )
    return f"{nanoseconds:.3g} ns"


def bytes_text(count):
    return f"{count / 2**20:.1f} MiB" if count is not None else ""


def table(header, rows):
    """Cells as Markdown; nothing for no rows."""
    if not rows:
        return "None.\n"
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


STANDINGS = {"faster": "behind", "slower": "ahead", "~": "~"}  # a rival's verdict seen from the other side


def layer_rows(rows):
    """One line a layer and thread count: (ratio, cells), lowest ratio first."""
    lines = []
    for group in groups(rows):
        own, best = own_row(group), best_of(group)
        if own is None or best is None:
            continue
        ratio = best["est_ns"] / own["est_ns"]
        share = own.get("derived", {}).get("peak_share")
        verdict = STANDINGS.get(best.get("derived", {}).get("verdict"), "n/a")
        lines.append(
            (
                ratio,
                [
                    own["layer"],
                    own["threads"],
                    time_text(own["est_ns"]),
                    f"{100 * share:.0f} %" if share else "",
                    best["contender"]["name"],
                    time_text(best["est_ns"]),
                    f"{ratio:.2f}",
                    verdict,
                ],
            )
        )
    return sorted(lines, key=lambda line: line[0])


def rival_rows(rows):
    """One line a framework and thread count: over how many layers which ratio, its best variant each."""
    ratios = {}
    for group in groups(rows):
        own = own_row(group)
        fastest = {}
        for row in timed(group) if own else []:
            name = rival_of(row)
            fastest[name] = min(row["est_ns"], fastest.get(name, math.inf))
        fastest.pop(OWN, None)
        if fastest:
            fastest["the best of all"] = min(fastest.values())
        for name, nanoseconds in fastest.items():
            ratios.setdefault((name, own["threads"]), []).append(nanoseconds / own["est_ns"])
    return [
        [
            name,
            threads,
            len(values),
            f"{geometric_mean(values):.2f}",
            f"{min(values):.2f}",
            f"{max(values):.2f}",
            sum(value < 1 for value in values),
        ]
        for (name, threads), values in sorted(ratios.items())
    ]


def fastest_rows(rows):
    """The fastest row of each framework for each layer and thread count."""
    result = []
    for group in groups(rows):
        fastest = {}
        for row in timed(group):
            known = fastest.get(rival_of(row))
            if known is None or row["est_ns"] < known["est_ns"]:
                fastest[rival_of(row)] = row
        result += fastest.values()
    return result


def first_result_seconds(row):
    """From nothing to the first result: the program starts, loads the layer and calls it; None if unknown."""
    if any(row.get(key) is None for key in ("start_s", "load_s", "first_call_ns")):
        return None
    return row["start_s"] + row["load_s"] + row["first_call_ns"] * 1e-9


def peak_bytes(row):
    """The most memory that the process of a row ever held; None if unknown."""
    return row.get("process_peak_bytes")


def layer_bytes(row):
    """By how much a layer raises the most memory that its process ever held; None if unknown."""
    if peak_bytes(row) is None or row.get("process_start_bytes") is None:
        return None
    return peak_bytes(row) - row["process_start_bytes"]


def cold_factor(row):
    return row["cold_ns"] / row["est_ns"] if row.get("cold_ns") else None


def own_bytes(row):
    """What has to be shipped: all that a framework loads, or a library as it is linked."""
    return row.get("shipped_bytes", row.get("library_bytes"))


def seconds_text(seconds):
    return time_text(seconds * 1e9) if seconds is not None else ""


# Header, how a row becomes a number, and that a text: what a framework costs besides time.
COSTS = [
    ("ships", own_bytes, bytes_text),
    ("build", lambda row: row.get("build_s"), seconds_text),
    ("start", lambda row: row.get("start_s"), seconds_text),
    ("load", lambda row: row.get("load_s"), seconds_text),
    ("first call", lambda row: row.get("first_call_ns"), lambda it: time_text(it) if it is not None else ""),
    ("first result", first_result_seconds, seconds_text),
    ("cold / warm call", cold_factor, lambda it: f"{it:.2f}" if it is not None else ""),
    ("memory of a layer", layer_bytes, bytes_text),
    ("peak memory", peak_bytes, bytes_text),
]


def cost_rows(rows):
    """What a framework costs besides time: medians over its layers, the fastest variant of each."""
    by_rival = {}
    for row in fastest_rows(rows):
        by_rival.setdefault(rival_of(row), []).append(row)
    lines = []
    for name, of in sorted(by_rival.items()):
        cells = [name, of[0]["contender"].get("version", "").split("\n")[0][:40]]
        for _, number, text in COSTS:
            numbers = [value for value in map(number, of) if value is not None]
            cells.append(text(statistics.median(numbers)) if numbers else "")
        lines.append(cells)
    return lines


def leanest_of(rows, frameworks_only=False):
    """The row of others whose process held the least memory, or None."""
    others = [
        row
        for row in timed(rows)
        if rival_of(row) != OWN
        and peak_bytes(row) is not None
        and not (frameworks_only and rival_of(row) in TEXTBOOK)
    ]
    return min(others, key=peak_bytes, default=None)


def memory_rows(rows):
    """One line a layer and thread count whose peak memory is known: (ratio of the leanest other's to Unstride's,
    whether a framework held less, cells), lowest ratio first."""
    lines = []
    for group in groups(rows):
        own, leanest, framework = own_row(group), leanest_of(group), leanest_of(group, frameworks_only=True)
        if own is None or leanest is None or peak_bytes(own) is None:
            continue
        cells = [own["layer"], own["threads"], bytes_text(peak_bytes(own))]
        for other in (leanest, framework):
            cells += [other["contender"]["name"], bytes_text(peak_bytes(other))] if other else ["", ""]
        above = framework is not None and peak_bytes(framework) < peak_bytes(own)
        lines.append((peak_bytes(leanest) / peak_bytes(own), above, cells))
    return sorted(lines, key=lambda line: line[0])


def failure_rows(rows):
    """What has no time, equal reasons of one framework on one line."""
    reasons = {}
    for row in rows:
        if row["status"] != "ok":
            key = (row["contender"]["name"], row["status"], row.get("detail", ""))
            layers = reasons.setdefault(key, [])
            if row["layer"] not in layers:
                layers.append(row["layer"])
    return [[name, ", ".join(layers), status, detail] for (name, status, detail), layers in reasons.items()]


def provenance(source):
    protocol, machine = source["protocol"], source["machine"]
    lines = [
        f"{machine['vendor']} {machine['model']}".strip()
        + (", virtual machine" if source.get("virtualised") else "")
    ]
    lines += [
        f"{peak['threads']} thread(s): {peak['flops'] / 1e9:.0f} GFLOP/s of multiply-adds in registers"
        for peak in source.get("peaks", [])
    ]
    lines += [
        f"{width['threads']} thread(s): {width['bytes_per_s'] / 1e9:.1f} GB/s copying in {width['level']}"
        for width in source.get("bandwidths", [])
    ]
    short = protocol.get("rounds_of_short_calls")
    lines.append(
        f"{protocol['rounds']} interleaved rounds"
        + (f", {short} where a call takes less than 1 ms," if short else "")
        + f" of {protocol['samples_per_round']} samples of at least {protocol['sample_s'] * 1e3:g} ms"
    )
    if "noise_floor" in source:
        lines.append(
            f"noise floor {100 * source['noise_floor']:.1f} %: how far a second process of this "
            "project's own library looks from the first"
        )
    stolen = source.get("stolen", {})
    if stolen.get("disturbed"):
        lines.append(
            f"the host took {100 * stolen['mean']:.0f} % of the processors' time; {stolen['disturbed']} of "
            f"{stolen['rounds']} rounds lost more than a twentieth and were made again"
        )
    if source.get("left_out"):
        lines.append(f"**left out for lack of time: {'; '.join(source['left_out'])}**")
    if source.get("unsteady"):
        lines.append(f"**not steady: {source['unsteady']}**")
    lines.append(
        f"Unstride {source['tool']['unstride']}"
        + (f", commit {source['commit']}" if source.get("commit") else "")
        + f", {source.get('when', '')}"
    )
    return "".join(f"- {line}\n" for line in lines)


def markdown(document):
    """Of a result file with what `unstride compare --baseline unstride` derived."""
    rows = document["rows"]
    layers, memory = layer_rows(rows), memory_rows(rows)
    behind = sum(ratio < 1 for ratio, _ in layers)
    leaner = [cells for ratio, _, cells in memory if ratio < 1]
    leaner_frameworks = sum(above for _, above, _ in memory)
    return f"""# Unstride against other frameworks

{provenance(document["sources"][0])}
## Layers

The ratio is the best rival's time over Unstride's: below 1 Unstride is behind. {behind} of {
        len(layers)
    } lines are
below 1; they come first. A verdict counts only what is beyond chance and the noise floor.

{
        table(
            ["layer", "threads", "Unstride", "of peak", "best rival", "its time", "ratio", "Unstride is"],
            [cells for _, cells in layers],
        )
    }
## Rivals

The ratio of each rival's fastest variant, as geometric mean over the layers that both computed.

{table(["rival", "threads", "layers", "mean", "least", "most", "layers below 1"], rival_rows(rows))}
## End to end

Medians over all layers, the fastest variant of each; [end_to_end.html](end_to_end.html) has them layer by
layer. The first result is starting the process, loading and one call. The peak is of the whole process:
interpreter, library, tensors and weights; the memory of a layer is by how much it rises from the start.

{table(["rival", "version", *(header for header, _, _ in COSTS)], cost_rows(rows))}
## Memory

On {len(leaner)} of {len(memory)} lines a contender's process held less memory at its peak than Unstride's, on {
        leaner_frameworks
    } of them a framework's: a plain loop packs no weights.

{
        table(
            ["layer", "threads", "Unstride", "leanest", "its peak", "leanest framework", "its peak"],
            leaner,
        )
    }
## Without a time

{table(["contender", "layers", "status", "why"], failure_rows(rows))}"""


def measured_lines(rows, source, threads):
    """(ratio, classes, cells) of each layer at one thread count, lowest ratio first, those without one last. A
    class of its own has, without cells, the layers that rivals also ran written anew, against the rest."""
    lines = []
    for group in groups(row for row in rows if row["threads"] == threads):
        own, best = own_row(group), best_of(group)
        if own is None:
            continue
        ratio = best["est_ns"] / own["est_ns"] if best else None
        roof = roof_of(own, source)
        classes = classes_of(own["text"])
        if any(map(rewritten, timed(group))) and (plain := best_of(group, as_written=True)):
            lines.append((plain["est_ns"] / own["est_ns"], [f"{classes[0]}, rivals as written"], None))
        cells = [
            own["layer"],
            classes[0],
            f"{own['est_ns'] * 1e-3:.1f}",
            f"{best['contender']['name']}, {best['est_ns'] * 1e-3:.1f}" if best else "none",
            f"{ratio:.2f}" if ratio else "",
            f"{100 * roof.nanoseconds / own['est_ns']:.0f} % {roof.limit}" if roof else "",
        ]
        lines.append((ratio, classes, cells))
    return sorted(lines, key=lambda line: math.inf if line[0] is None else line[0])


def class_rows(lines):
    """One line a class of layers: how many, the geometric mean of their ratios, and how many are behind."""
    result = []
    again = {classes[0] for _, classes, cells in lines if cells is None}
    for name in ("all", *sorted(again), *CLASSES, OTHERS):
        ratios = [
            ratio
            for ratio, classes, cells in lines
            if ratio and (name in classes or (name == "all" and cells is not None))
        ]
        if ratios:
            behind = sum(ratio < 1 for ratio in ratios)
            result.append([name, len(ratios), f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}", behind])
    return result


def measured_table(document, threads=None):
    """The layers and the means over classes, losses first, for each thread count or one."""
    source, rows, text = document["sources"][0], document["rows"], ""
    for count in [threads] if threads else sorted({row["threads"] for row in rows}):
        lines = measured_lines(rows, source, count)
        text += f"### {count} thread(s)\n\n"
        text += table(["class", "layers", "geometric mean", "least", "below 1"], class_rows(lines)) + "\n"
        header = ["layer", "class", "Unstride, µs", "best rival, µs", "ratio", "of the roof"]
        text += table(header, [cells for _, _, cells in lines if cells]) + "\n"
    return text + provenance(source)


def main(arguments):
    parser = argparse.ArgumentParser(prog="bench/summary.py", description="A result file as Markdown.")
    parser.add_argument("results", metavar="RESULTS.json")
    parser.add_argument("--table", action="store_true", help="layers and means over classes, losses first")
    parser.add_argument("--threads", type=int, metavar="N", help="of --table: this thread count only")
    options = parser.parse_args(arguments)
    try:
        with open(options.results, encoding="utf-8") as file:
            document = json.load(file)
        print(measured_table(document, options.threads) if options.table else markdown(document))
    except (OSError, ValueError, KeyError) as error:
        print(
            f"summary.py: error: {options.results}: no result of scripts/bench.sh: {error}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
