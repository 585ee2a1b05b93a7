"""Ratios that a machine is known to reach, to notice when a change loses them. Never absolute times."""

import json
import os
from collections import Counter
from typing import NamedTuple

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


NOT_MEASURED = "the layer or thread count is no part of this run"


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


def write(document, path, unsteady=False):
    """How many layers and thread counts the file holds, and how many of them with a ratio to oneDNN.

    A run that was not steady is written only if `unsteady` allows it, and marked."""
    source = document["sources"][0]
    figures = figures_of(document)
    if not figures:
        raise BaselineError("no layer has a figure to write: the run needs times of unstride")
    if source.get("unsteady") and not unsteady:
        raise BaselineError(
            f"not steady: {source['unsteady']}; no baseline is written of such a run without --unsteady"
        )
    baseline = {
        "schema": SCHEMA,
        "machine": source["machine"],
        "when": source.get("when", ""),
        "commit": source.get("commit", ""),
        "threshold": threshold_of(source),
        "steady": not source.get("unsteady"),
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


def threads_of(baseline):
    """The thread counts that a baseline holds."""
    return sorted({entry["threads"] for entry in baseline["layers"]})


class Loss(NamedTuple):
    """A figure of a layer, (text, threads), that fell."""

    layer: tuple
    figure: str
    words: str
    before: float
    after: float

    @property
    def key(self):
        return key_of(dict(zip(("text", "threads"), self.layer)))

    def __str__(self):
        return f"{self.key}: {self.words} fell from {self.before:.3f} to {self.after:.3f}"


class Comparison:
    """Of a run with a baseline, layer by layer and thread count by thread count."""

    def __init__(self, document, baseline, threshold):
        self.baseline, self.threshold = baseline, threshold
        self.compared = {}  # (layer, figure): what it is now
        self.losses = []
        self.failed = []  # keys that Unstride has no time for any more
        self.not_compared = Counter()  # (figure, why)
        now = figures_of(document)
        measured = {key_of(row) for row in document["rows"]}
        for before in baseline["layers"]:
            key = key_of(before)
            if key not in measured:
                self.not_compared.update((figure, NOT_MEASURED) for figure, _ in FIGURES if figure in before)
            elif key not in now:
                self.failed.append(key)
            else:
                self.compare(before, now[key])

    def compare(self, before, after):
        for figure, words in FIGURES:
            if figure not in before:
                continue
            if figure not in after:
                self.not_compared[figure, f"the run has no {words}"] += 1
            elif figure == "ratio" and before["anchors"] != after["anchors"]:
                known, here = (", ".join(entry["anchors"]) for entry in (before, after))
                self.not_compared[figure, f"the baseline's ratio is to {known}, the run's to {here}"] += 1
            else:
                layer = (before["text"], before["threads"])
                self.compared[layer, figure] = after[figure]
                if not after[figure] >= before[figure] * (1 - self.threshold):
                    self.losses.append(Loss(layer, figure, words, before[figure], after[figure]))

    def said(self):
        """How much was compared, and why the rest was not."""
        lines = [
            f"{len(self.compared)} figures compared with the baseline, {len(self.losses)} fell by more than "
            f"{100 * self.threshold:.0f} %"
        ]
        for why in dict.fromkeys(why for _, why in self.not_compared):
            count = sum(number for (_, reason), number in self.not_compared.items() if reason == why)
            lines.append(f"{count} figures of the baseline not compared: {why}")
        return lines

    def require_figures(self):
        """BaselineError if the run has nothing to be judged by, or no ratio although the baseline has."""
        if not self.compared:
            raise BaselineError(
                "nothing could be compared with the baseline; measure its layers and thread counts, or write it "
                "anew with --write-baseline"
            )
        missed = any(figure == "ratio" and why != NOT_MEASURED for figure, why in self.not_compared)
        if missed and not any(figure == "ratio" for _, figure in self.compared):
            raise BaselineError(
                "no ratio to oneDNN could be compared; measure the versions of the baseline, or write it anew "
                "with --write-baseline"
            )

    def layers_lost(self):
        """(text, threads) of each layer and thread count with a figure that fell."""
        return {loss.layer for loss in self.losses}

    def confirmed_by(self, again):
        """(whether it is one, in words) of each loss; one that a second measurement tells nothing of stands."""
        shown = {(loss.layer, loss.figure) for loss in again.losses}
        for loss in self.losses:
            figure = again.compared.get((loss.layer, loss.figure))
            stands = figure is None or (loss.layer, loss.figure) in shown
            said = "without a figure" if figure is None else f"{figure:.3f}"
            yield stands, f"{loss}, measured again {said}"


def comparison(document, baseline):
    threshold = max(baseline["threshold"], threshold_of(document["sources"][0]))
    if threshold > MOST_THRESHOLD:
        raise BaselineError(
            f"too noisy to judge: only losses beyond {100 * threshold:.0f} % would count; "
            "measure on an idle machine"
        )
    return Comparison(document, baseline, threshold)
