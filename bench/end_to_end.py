"""What every contender costs on every layer besides its time in a loop, as a page: from start to memory."""

import html_page
from summary import (
    COSTS,
    OWN,
    cost_rows,
    fastest_rows,
    geometric_mean,
    groups,
    own_row,
    provenance,
    rival_of,
    time_text,
    timed,
)

LAYER_COSTS = [("steady", lambda row: row["est_ns"], time_text), *COSTS]


def layer_table(rows):
    lines = []
    for row in sorted(timed(rows), key=lambda row: row["est_ns"]):
        cells = [row["contender"]["name"]]
        for _, number, text in LAYER_COSTS:
            value = number(row)
            cells.append(text(value) if value is not None else "")
        lines.append(cells)
    return html_page.table(["contender", *(header for header, _, _ in LAYER_COSTS)], lines)


def ratio_rows(rows):
    """One line a framework: geometric means of its costs over Unstride's, for the layers that both have."""
    ratios = {}
    for group in groups(fastest_rows(rows)):
        own = own_row(group)
        for row in group if own else []:
            for header, number, _ in LAYER_COSTS:
                mine, other = number(own), number(row)
                if rival_of(row) != OWN and mine and other and mine > 0 and other > 0:
                    ratios.setdefault(rival_of(row), {}).setdefault(header, []).append(other / mine)
    return [
        [name, *(f"{geometric_mean(of[key]):.2f}" if key in of else "" for key, _, _ in LAYER_COSTS)]
        for name, of in sorted(ratios.items())
    ]


def page(document):
    rows, source = document["rows"], document["sources"][0]
    headers = [header for header, _, _ in LAYER_COSTS]
    costs = html_page.table(
        ["contender", "version", *(header for header, _, _ in COSTS)], cost_rows(rows), words=2
    )
    layers = "".join(
        html_page.details(f"{group[0]['layer']}, {group[0]['threads']} thread(s)", layer_table(group))
        for group in groups(rows)
        if timed(group)
    )
    facts = "".join(
        f"<li>{html_page.escaped(line[2:].replace('**', ''))}</li>"
        for line in provenance(source).splitlines()
    )
    meaning = (
        "<dl><dt>steady</dt><dd>a call in a row of calls</dd>"
        "<dt>ships</dt><dd>all files of a framework that its process has loaded; for Unstride a shared object "
        "of one layer, with all instruction sets</dd>"
        "<dt>build</dt><dd>what is done on another machine: for Unstride, generating the library</dd>"
        "<dt>start</dt><dd>from starting the process until it answers: libraries loaded, an interpreter "
        "started</dd>"
        "<dt>load</dt><dd>compiling the model, choosing kernels, packing weights</dd>"
        "<dt>first result</dt><dd>start, load and first call</dd>"
        "<dt>cold / warm call</dt><dd>one call after all caches were read full of something else, over the "
        "steady one</dd>"
        "<dt>memory of a layer</dt><dd>by how much loading and calling it raise the most memory that the "
        "process ever held</dd></dl>"
    )
    return html_page.page(
        "Layers from end to end",
        "What a layer costs besides its time in a loop: getting to the first result, with cold caches, in "
        "memory and in size.",
        [
            ("provenance", "Provenance", f"<ul>{facts}</ul>"),
            ("meaning", "What the figures mean", meaning),
            ("medians", "Medians over layers", costs),
            (
                "ratios",
                "Over Unstride's",
                "<p>Geometric means over the layers that both compute, of each framework's fastest "
                "variant.</p>" + html_page.table(["contender", *headers], ratio_rows(rows)),
            ),
            ("layers", "Layer by layer", layers or '<p class="absent">No layer has a time.</p>'),
        ],
    )
