"""Parts of a page that loads nothing and runs no scripts, in the style of `unstride compare`'s report."""

import html
import math
import os
import re

STYLE_FILE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools", "report", "style.h"
)
SERIES = 6  # colours and marks that the style has


def style():
    """The report's own style sheet, from the C++ that holds it."""
    with open(STYLE_FILE, encoding="utf-8") as file:
        return re.search(r'R"css\((.*?)\)css"', file.read(), re.DOTALL)[1]


def escaped(text):
    return html.escape(str(text), quote=True)


def page(title, lead, sections):
    """`sections` are (id, heading, HTML); `lead` is HTML."""
    contents = "".join(
        f'<li><a href="#{name}"><span class="no">{number}</span>{escaped(heading)}</a></li>'
        for number, (name, heading, _) in enumerate(sections, 1)
    )
    body = "".join(
        f'<section id="{name}"><h2><span class="no">{number}</span> {escaped(heading)}</h2>\n'
        f"{text}</section>\n"
        for number, (name, heading, text) in enumerate(sections, 1)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{style()}</style></head><body>\n"
        f'<header><h1>{escaped(title)}</h1><p class="lead">{lead}</p></header>\n'
        f"<nav><ol>{contents}</ol></nav>\n<main>\n{body}</main></body></html>\n"
    )


def table(header, rows, words=1):
    """Cells are texts, or (class, text); the first `words` columns hold words, all others numbers."""

    def cell(tag, column, value):
        classes, text = value if isinstance(value, tuple) else ("", value)
        classes = " ".join(filter(None, ["" if column < words else "n", classes]))
        return (
            f'<{tag} class="{classes}">{escaped(text)}</{tag}>'
            if classes
            else f"<{tag}>{escaped(text)}</{tag}>"
        )

    head = "".join(cell("th", column, text) for column, text in enumerate(header))
    body = "".join(
        "<tr>"
        + "".join(cell("th" if not column else "td", column, it) for column, it in enumerate(row))
        + "</tr>"
        for row in rows
    )
    rows_of = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{rows_of}</table></div>\n'


def details(summary, body, opened=False):
    return f"<details{' open' if opened else ''}><summary>{escaped(summary)}</summary>\n{body}</details>\n"


def mark(x, y, series):
    shapes = (
        "M{l:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        "M{l:.1f} {t:.1f}h8v8h-8z",
        "M{x:.1f} {t:.1f}l5 4l-5 4l-5 -4z",
        "M{x:.1f} {t:.1f}l5 8h-10z",
        "M{x:.1f} {b:.1f}l5 -8h-10z",
        "M{x:.1f} {t:.1f}m-2 0h4v9h-4z",
    )
    return shapes[series % SERIES].format(x=x, y=y, l=x - 4, t=y - 4, b=y + 4)


def legend(names):
    """A mark for each name; None for the dashed line of what is predicted."""
    items = ""
    for number, name in enumerate(names):
        if name is None:
            drawing, name = '<path class="dash" d="M0 7H14"/>', "predicted"
        else:
            drawing = f'<path class="mark s{number % SERIES}" d="{mark(7, 7, number)}"/>'
        items += f'<li><svg width="14" height="14" aria-hidden="true">{drawing}</svg>{escaped(name)}</li>'
    return f'<ul class="legend">{items}</ul>\n'


class Axis:
    """A logarithmic scale from numbers to a picture."""

    def __init__(self, numbers, start, end):
        self.low, self.high = min(numbers), max(numbers)
        if self.high <= self.low:
            self.low, self.high = self.low / 2, self.high * 2
        self.start, self.end = start, end

    def __call__(self, number):
        return self.start + (self.end - self.start) * math.log(number / self.low) / math.log(
            self.high / self.low
        )

    def ticks(self):
        """Powers of ten, and where these are few their 2 and 5 fold."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        digits = (1,) if last - first > 4 else (1, 2, 5)
        ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        return [tick for tick in ticks if self.low * 0.999 <= tick <= self.high * 1.001]


class LinePlot:
    """Lines over logarithmic axes; `ticks` are named on the x axis, `tick_text` names numbers of y."""

    WIDTH, HEIGHT = 520, 300
    LEFT, RIGHT, TOP, BOTTOM = 66, 508, 14, 256

    def __init__(self, label, x_label, ticks, values, tick_text):
        self.label, self.body = label, ""
        self.x = Axis(ticks, self.LEFT + 8, self.RIGHT - 8)
        self.y = Axis(values, self.BOTTOM - 6, self.TOP + 6)
        for tick in self.y.ticks():
            at = self.y(tick)
            self.body += f'<path class="grid" d="M{self.LEFT} {at:.1f}H{self.RIGHT}"/>'
            self.text(self.LEFT - 6, at + 4, tick_text(tick), "smallend")
        last = -math.inf
        for tick in sorted(ticks):
            at = self.x(tick)
            if at - last > 34:  # else names would touch
                self.text(at, self.BOTTOM + 18, f"{tick:g}", "smallmid")
                last = at
        self.body += f'<path class="axis" d="M{self.LEFT} {self.TOP}V{self.BOTTOM}H{self.RIGHT}"/>'
        self.text((self.LEFT + self.RIGHT) / 2, self.BOTTOM + 38, x_label, "smallmid")

    def text(self, x, y, text, kind):
        self.body += f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escaped(text)}</text>'

    def line(self, points, kind):
        steps = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        self.body += f'<path class="{kind}" d="M{steps}"/>'

    def series(self, points, number, titles):
        """Points joined and marked; a title each, which browsers show on pointing."""
        self.line(points, f"trace s{number % SERIES}")
        for (x, y), title in zip(points, titles):
            self.body += (
                f'<path class="mark s{number % SERIES}" d="{mark(self.x(x), self.y(y), number)}">'
                f"<title>{escaped(title)}</title></path>"
            )

    def finished(self, caption):
        return (
            f'<figure><div class="scroll" tabindex="0"><svg role="img" aria-label="{escaped(self.label)}" '
            f'width="{self.WIDTH}" height="{self.HEIGHT}" viewBox="0 0 {self.WIDTH} {self.HEIGHT}">'
            f"{self.body}</svg></div><figcaption>{escaped(caption)}</figcaption></figure>\n"
        )
