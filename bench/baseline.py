"""Ratios that a machine is known to reach, to notice when a change loses them. Never absolute times."""

import json
import os

from roof import roof_of
from summary import groups, own_row, rival_of, timed

SCHEMA = 1
LEAST_THRESHOLD = 0.05  # losses below this are noise, whatever the noise floor says
MOST_THRESHOLD = 0.5  # a run that could only see losses beyond this sees none
ANCHORS = ("onednn", "onednn_openmp")  # the rivals with the most layers


class BaselineError(Exception):
    """A baseline that cannot be used; the text says what to do."""


FIGURES = (
    ("ratio", "oneDNN's time over unstride's"),
    ("peak_share", "share of the peak"),
    ("copy_share", "share of the rate of copying"),
)


def anchor_name(row):
    return f"{rival_of(row)} {row['contender'].get('version', '')}".strip()


def key_of(entry):
    return f"{entry['text']} @ {entry['threads']}"


def figures_of(document):
    """{"TEXT @ N": figures} of every layer and thread count that Unstride has a time for.

    `ratio` is oneDNN's time over Unstride's and `anchors` the versions of oneDNN that it is to; `peak_share` is
    of the multiply-add peak, or for a layer without multiplications `copy_share` of the rate of copying.
    """
    source = document["sources"][0]
    figures = {}
    for rows in groups(document["rows"]):
        own = own_row(rows)
        if own is None:
            continue
        entry = {"text": own["text"], "threads": own["threads"]}
        anchors = [row for row in timed(rows) if rival_of(row) in ANCHORS]
        if anchors:
            entry["anchors"] = sorted({anchor_name(row) for row in anchors})
            entry["ratio"] = min(row["est_ns"] for row in anchors) / own["est_ns"]
        if own.get("derived", {}).get("peak_share"):
            entry["peak_share"] = own["derived"]["peak_share"]
        elif (roof := roof_of(own, source)) is not None:
            entry["copy_share"] = roof.nanoseconds / own["est_ns"]
        if any(figure in entry for figure, _ in FIGURES):
            figures[key_of(entry)] = entry
    return figures


def threshold_of(source):
    return max(LEAST_THRESHOLD, 2 * source.get("noise_floor", 0))


def write(document, path):
    """How many layers and thread counts the file holds, and how many of them with a ratio to oneDNN."""
    source = document["sources"][0]
    figures = figures_of(document)
    if not figures:
        raise BaselineError("no layer has a figure to write: the run needs times of unstride")
    baseline = {
        "schema": SCHEMA,
        "machine": source["machine"],
        "when": source.get("when", ""),
        "commit": source.get("commit", ""),
        "threshold": threshold_of(source),
        "layers": list(figures.values()),
    }
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(baseline, file, indent=1)
        file.write("\n")
    os.replace(temporary, path)
    return len(figures), sum("ratio" in entry for entry in figures.values())


def read_for(machine, folder):
    """The baseline of a folder that was measured on this kind of machine."""
    names = (
        sorted(name for name in os.listdir(folder) if name.endswith(".json")) if os.path.isdir(folder) else []
    )
    for name in names:
        path = os.path.join(folder, name)
        with open(path, encoding="utf-8") as file:
            try:
                baseline = json.load(file)
            except ValueError as error:
                raise BaselineError(f"{path}: is no JSON: {error}") from None
        if baseline.get("schema") != SCHEMA:
            raise BaselineError(
                f"{path}: schema {baseline.get('schema')} is not {SCHEMA}; write it again with "
                "--write-baseline"
            )
        if baseline["machine"] == machine:
            return baseline
    raise BaselineError(
        f"{folder} has no baseline of {machine['vendor']} {machine['model']} with "
        f"{machine['threads']} threads; write one with --write-baseline"
    )


def lost_figures(before, after, threshold):
    """How many figures of a layer both have, and a sentence for each that fell."""
    compared, lost = 0, []
    for figure, words in FIGURES:
        if figure not in before or figure not in after:
            continue
        if figure == "ratio" and before["anchors"] != after["anchors"]:
            continue  # other rivals, another ratio
        compared += 1
        if after[figure] < before[figure] * (1 - threshold):
            lost.append(
                f"{key_of(before)}: {words} fell from {before[figure]:.3f} to {after[figure]:.3f}, by more "
                f"than {100 * threshold:.0f} %"
            )
    return compared, lost


def losses(document, baseline):
    """How many figures the run and the baseline both have, and a sentence for each that was lost."""
    threshold = max(baseline["threshold"], threshold_of(document["sources"][0]))
    if threshold > MOST_THRESHOLD:
        raise BaselineError(
            f"too noisy to judge: only losses beyond {100 * threshold:.0f} % would count; "
            "measure on an idle machine"
        )
    now, compared, lost = figures_of(document), 0, []
    measured = {key_of(row) for row in document["rows"]}
    for before in baseline["layers"]:
        key = key_of(before)
        if key not in measured:
            continue
        if key not in now:
            lost.append(f"{key}: unstride has no time any more")
            continue
        count, fallen = lost_figures(before, now[key], threshold)
        compared += count
        lost += fallen
    return compared, lost
