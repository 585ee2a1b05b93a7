"""Cost against size, channels, kernel, batch and threads: what the roof predicts and what was measured.

A series is the layers of one file that are named alike but for a number at the end, which is their place on
the axis; the file's name says what is counted.
"""

import os
import re

import html_page
from roof import roof_of
from summary import best_of, groups, own_row, table, time_text

EXPLAINED = 0.3  # a discrepancy beyond this wants an explanation
AXES = {
    "batch": "images in a batch",
    "channels": "channels",
    "kernel": "kernel size on each axis",
    "length": "input length",
    "size": "input height and width",
    "volume": "input depth, height and width",
}


class Point:
    """One layer at one thread count."""

    def __init__(self, number, own, best, source):
        self.number, self.own, self.best = number, own, best
        self.roof = roof_of(own, source)

    @property
    def discrepancy(self):
        return self.own["est_ns"] / self.roof.nanoseconds - 1 if self.roof else None

    @property
    def wants_explanation(self):
        return self.discrepancy is not None and abs(self.discrepancy) > EXPLAINED


def series_of(document):
    """{(axis, series, threads): points by their number}; one point alone is no series."""
    series = {}
    for rows in groups(document["rows"]):
        own = own_row(rows)
        match = re.fullmatch(r"(.*?)_?(\d+)", rows[0]["layer"])
        if own is None or not match or int(match[2]) == 0:
            continue
        axis = os.path.splitext(os.path.basename(own.get("file", "")))[0]
        point = Point(int(match[2]), own, best_of(rows), document["sources"][0])
        series.setdefault((axis, match[1], own["threads"]), []).append(point)
    return {
        key: sorted(points, key=lambda point: point.number)
        for key, points in sorted(series.items())
        if len(points) > 1
    }


def rate_text(point):
    return (
        f"{2 * point.own['multiplications'] / point.own['est_ns']:.1f} GFLOP/s"
        if point.own["multiplications"]
        else ""
    )


def percent(share):
    return f"{100 * share:+.0f} %" if share is not None else ""


def cells_of(point):
    own, roof, best = point.own, point.roof, point.best
    return [
        own["layer"],
        own["threads"],
        f"{own['multiplications'] / 1e6:.4g} M",
        f"{own.get('products', own['multiplications']) / 1e6:.4g} M",
        f"{own['compulsory_bytes'] / 1e6:.4g} MB",
        roof.limit if roof else "",
        time_text(roof.nanoseconds) if roof else "",
        time_text(own["est_ns"]),
        percent(point.discrepancy),
        rate_text(point),
        own.get("family", ""),
        f"{best['contender']['name']}, {best['est_ns'] / own['est_ns']:.2f}" if best else "",
    ]


HEADER = [
    "layer",
    "threads",
    "multiplications",
    "made",
    "bytes",
    "limit",
    "predicted",
    "measured",
    "discrepancy",
    "rate",
    "form",
    "best rival, ratio",
]


def plot(axis, name, by_threads):
    points = [point for points in by_threads.values() for point in points]
    times = [point.own["est_ns"] for point in points]
    times += [point.roof.nanoseconds for point in points if point.roof]
    times += [point.best["est_ns"] for point in points if point.best]
    picture = html_page.LinePlot(
        f"Time of {name} against {AXES.get(axis, axis)}",
        AXES.get(axis, axis),
        sorted({point.number for point in points}),
        times,
        time_text,
    )
    names = []
    for threads, points in sorted(by_threads.items()):
        predicted = [(point.number, point.roof.nanoseconds) for point in points if point.roof]
        if len(predicted) > 1:
            picture.line(predicted, "dash")
        for who, rows in (
            ("Unstride", [it.own for it in points]),
            ("best rival", [it.best for it in points]),
        ):
            shown = [(point.number, row) for point, row in zip(points, rows) if row]
            if shown:
                titles = [
                    f"{row['layer']}, {row['contender']['name']}: {time_text(row['est_ns'])}"
                    for _, row in shown
                ]
                picture.series([(number, row["est_ns"]) for number, row in shown], len(names), titles)
                names.append(f"{who}, {threads} thread(s)")
    text = points[0].own["text"]
    return html_page.legend([*names, None]) + picture.finished(f"{name}: time of a call. First layer: {text}")


def marked(cells, point):
    cells = list(cells)
    if point.wants_explanation:
        cells[HEADER.index("discrepancy")] = ("failed", cells[HEADER.index("discrepancy")])
    return cells


def axis_section(axis, series):
    """All series of one axis: a plot and a table each, all thread counts together."""
    text = ""
    for name in sorted({name for of, name, _ in series if of == axis}):
        by_threads = {
            threads: points for (of, it, threads), points in series.items() if (of, it) == (axis, name)
        }
        rows = [marked(cells_of(point), point) for points in by_threads.values() for point in points]
        text += f"<h3>{html_page.escaped(name)}</h3>\n" + plot(axis, name, by_threads)
        text += html_page.details("figures", html_page.table(HEADER, rows))
    return text


def thread_rows(document):
    """Layers at several thread counts: (layer, {threads: time over that of the least count})."""
    times = {}
    for rows in groups(document["rows"]):
        own = own_row(rows)
        if own:
            times.setdefault((own["text"], own["layer"]), {})[own["threads"]] = own["est_ns"]
    return [(layer, of) for (_, layer), of in times.items() if len(of) > 1]


def threads_section(document):
    layers = thread_rows(document)
    if not layers:
        return '<p class="absent">Measured at one thread count only.</p>\n'
    counts = sorted({count for _, of in layers for count in of})
    rows = []
    for layer, of in layers:
        least = min(of)
        speedups = {count: of[least] / of[count] for count in of}
        cells = [f"{speedups[count]:.2f}" if count in of else "" for count in counts]
        most = max(of)
        rows.append([layer, time_text(of[least]), *cells, f"{100 * speedups[most] * least / most:.0f} %"])
    header = ["layer", f"time, {counts[0]} thread(s)", *(f"{count}" for count in counts), "efficiency"]
    return (
        "<p>Speed-up over the fewest threads, and what share of ideal it is at the most threads.</p>\n"
        + html_page.table(header, rows)
    )


def page(document):
    series = series_of(document)
    sections = [
        (axis or "other", AXES.get(axis, axis).capitalize() or "Other", axis_section(axis, series))
        for axis in sorted({axis for axis, _, _ in series})
    ]
    sections.append(("threads", "Threads", threads_section(document)))
    return html_page.page(
        "How cost grows",
        "Dashed: the roof, the longer of the multiplications that are made, at the measured rate of "
        "multiply-adds, and of all tensors' bytes, at the measured rate of the level of memory that holds them. "
        "Measured times "
        f"further than {100 * EXPLAINED:.0f} % from it are marked.",
        sections,
    )


def markdown(document):
    """The layers whose time is far from the prediction, furthest first."""
    points = [point for points in series_of(document).values() for point in points if point.wants_explanation]
    points.sort(key=lambda point: -abs(point.discrepancy))
    return f"""
## Scaling

Plots are in [scaling.html](scaling.html). These layers are further than {100 * EXPLAINED:.0f} % from their
roof: the longer of the multiplications that are made, at the measured rate of multiply-adds, and of all tensors'
bytes, at the measured rate of the level of memory that holds them.

{table(HEADER, [cells_of(point) for point in points])}"""
