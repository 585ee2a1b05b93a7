"""What a comparison of rivals says in Markdown: where this project is behind comes first."""

import math
import statistics

OWN = "unstride"


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


def best_of(rows):
    """The fastest row of other frameworks, or None."""
    others = [row for row in timed(rows) if rival_of(row) != OWN]
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


def cost_rows(rows):
    """What a framework costs besides time, as medians over its rows."""
    by_rival = {}
    for row in timed(rows):
        by_rival.setdefault(rival_of(row), []).append(row)

    def median(of, key):
        values = [row[key] for row in of if row.get(key) is not None]
        return statistics.median(values) if values else None

    lines = []
    for name, of in sorted(by_rival.items()):
        load, first, memory = (median(of, key) for key in ("load_s", "first_call_ns", "process_peak_bytes"))
        lines.append(
            [
                name,
                of[0]["contender"].get("version", "").split("\n")[0][:40],
                bytes_text(of[0].get("library_bytes")),
                time_text(load * 1e9) if load is not None else "",
                time_text(first) if first is not None else "",
                bytes_text(memory),
            ]
        )
    return lines


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
        f"{width['threads']} thread(s): {width['bytes_per_s'] / 1e9:.1f} GB/s copying in memory"
        for width in source.get("bandwidths", [])
    ]
    lines.append(
        f"{protocol['rounds']} interleaved rounds of {protocol['samples_per_round']} samples of at "
        f"least {protocol['sample_s'] * 1e3:g} ms"
    )
    if "noise_floor" in source:
        lines.append(
            f"noise floor {100 * source['noise_floor']:.1f} %: how far a second process of this "
            "project's own library looks from the first"
        )
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
    layers = layer_rows(rows)
    behind = sum(ratio < 1 for ratio, _ in layers)
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
## Size and memory

Medians over all layers. The peak is of the whole process: interpreter, library, tensors and weights.

{table(["rival", "version", "library", "loading a layer", "first call", "peak memory"], cost_rows(rows))}
## Without a time

{table(["contender", "layers", "status", "why"], failure_rows(rows))}"""
