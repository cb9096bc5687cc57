"""The drawings of docs/method.md: `python scripts/drawings.py` writes them anew.

Each lies on a card of its own and takes the reader's scheme, so that it can be read on a light page
and on a dark one.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 640
STYLE = """
.card { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e }
.line { stroke: #59636e; fill: none; stroke-width: 2 }
.hot { stroke: #0969da; fill: none; stroke-width: 4 } .hot-ink { fill: #0969da }
.bad { stroke: #cf222e; fill: none; stroke-width: 2; stroke-dasharray: 6 4 }
.bad-ink { fill: #cf222e }
.dot { fill: #ffffff; stroke: #1f2328; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117 } .ink { fill: #f0f6fc } .soft { fill: #9198a1 }
.line { stroke: #9198a1 } .hot { stroke: #58a6ff } .hot-ink { fill: #58a6ff }
.bad { stroke: #ff7b72 } .bad-ink { fill: #ff7b72 }
.dot { fill: #0d1117; stroke: #f0f6fc }
}
""".strip()

Point = tuple[float, float]


def text(at: Point, says: str, kind: str = "ink", anchor: str = "middle") -> str:
    x, y = at
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(says)}</text>'


def line(a: Point, b: Point, kind: str = "line") -> str:
    return f'<path class="{kind}" d="M{a[0]:g} {a[1]:g}L{b[0]:g} {b[1]:g}"/>'


def arrow(a: Point, b: Point, kind: str = "line") -> str:
    """From a to b, short of the dot that stands there."""
    angle = math.atan2(b[1] - a[1], b[0] - a[0])
    tip = (b[0] - 12 * math.cos(angle), b[1] - 12 * math.sin(angle))
    wings = [
        (tip[0] - 9 * math.cos(angle + turn), tip[1] - 9 * math.sin(angle + turn))
        for turn in (0.45, -0.45)
    ]
    head = "M{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}".format(*wings[0], *tip, *wings[1])
    return (
        line(a, (round(tip[0], 1), round(tip[1], 1)), kind) + f'<path class="{kind}" d="{head}"/>'
    )


def dot(at: Point, name: str = "", aside: Point = (0, -14)) -> str:
    circle = f'<circle class="dot" cx="{at[0]:g}" cy="{at[1]:g}" r="7"/>'
    return circle + (text((at[0] + aside[0], at[1] + aside[1]), name) if name else "")


def corner(at: Point, one: Point, other: Point) -> str:
    """The mark of a right angle; one, other: unit vectors of its sides."""
    a = (at[0] + 14 * one[0], at[1] + 14 * one[1])
    b = (at[0] + 14 * other[0], at[1] + 14 * other[1])
    c = (a[0] + 14 * other[0], a[1] + 14 * other[1])
    return line(a, c) + line(c, b)


def inner_products() -> tuple[int, list[str]]:
    """Inner products on a tree: the squared length of the history that two models share."""
    start, p, c, d = (130, 40), (130, 130), (70, 220), (210, 220)
    rows = [
        ("⟨c, d⟩ = |p|²", "siblings share the way to their parent"),
        ("⟨p, c⟩ = |p|²", "a child holds all of its parent"),
        ("⟨c, c⟩ = |p|² + |c − p|²", "and a step of its own"),
    ]
    body = [
        line(start, p, "hot"),
        line(p, c),
        line(p, d),
        dot(start, "start of training", (84, 5)),
        dot(p, "p", (18, 5)),
        dot(c, "c", (0, 26)),
        dot(d, "d", (0, 26)),
        text((118, 92), "|p|²", "hot-ink", "end"),
        text((84, 176), "|c − p|²", "soft", "end"),
        text((190, 176), "|d − p|²", "soft", "start"),
    ]
    for k, (formula, says) in enumerate(rows):
        body += [
            text((310, 78 + 56 * k), formula, "hot-ink" if k < 2 else "ink", "start"),
            text((310, 98 + 56 * k), says, "soft", "start"),
        ]
    return 260, body


def polarity() -> tuple[int, list[str]]:
    """Polarity r = ⟨p − c, p⟩ / |p − c|²: where the step between p and c stands on p."""
    axis, body = 236, []
    cases = [
        (110, "p is the parent", "r = 0", (0, 0), (80, 0)),
        (320, "siblings", "r = 1/2", (-45, 0), (45, 0)),
        (530, "p is the child", "r = 1", (80, 0), (0, 0)),
    ]
    for x, says, value, to_p, to_c in cases:
        origin, top = (x - 20, 190), (x - 20, 80)
        p, c = (top[0] + to_p[0], top[1]), (top[0] + to_c[0], top[1])
        if to_p == (0, 0):
            body.append(corner(top, (0, 1), (1, 0)))
        if to_c == (0, 0):
            body.append(corner(top, (0, 1), (1, 0)))
        if to_p[0] and to_c[0]:
            body += [line(origin, top, "bad"), dot(top)]
        body += [
            arrow(origin, p, "line"),
            arrow(origin, c, "line"),
            line((p[0], p[1]), (c[0], c[1]), "hot"),
            dot(p, "p"),
            dot(c, "c"),
            dot(origin),
            text((x, 40), says),
            f'<circle class="hot-ink" cx="{x}" cy="{axis}" r="5"/>',
            text((x, axis + 24), value, "hot-ink"),
        ]
    body.insert(0, line((60, axis), (580, axis)))
    return 280, body


def turning_back() -> tuple[int, list[str]]:
    """Turning back: a way over a sibling first undoes what the sibling went through."""
    body = []
    g, s, c = (90, 190), (90, 80), (220, 80)
    body += [
        text((160, 34), "c is a child of s"),
        corner(s, (0, 1), (1, 0)),
        arrow(g, s, "hot"),
        arrow(s, c, "hot"),
        dot(g, "g", (0, 26)),
        dot(s, "s"),
        dot(c, "c"),
        text((160, 246), "the way over s goes on:", "soft"),
        text((160, 268), "cos(c − s, s − g) ≈ 0", "soft"),
    ]
    g, s, c = (450, 190), (420, 70), (520, 130)
    body += [
        text((480, 34), "c is a sibling of s"),
        arrow(g, s, "bad"),
        arrow(s, c, "bad"),
        arrow(g, c, "hot"),
        line((s[0] - 14, s[1] + 4), (g[0] - 24, 154)),
        text((404, 120), "undone", "soft", "end"),
        dot(g, "g", (0, 26)),
        dot(s, "s"),
        dot(c, "c", (18, 5)),
        text((480, 246), "the way over s turns back:", "soft"),
        text((480, 268), "cos(c − s, s − g) ≈ −0.7", "soft"),
    ]
    return 290, body


def cycle_property() -> tuple[int, list[str]]:
    """The cycle property: the longest edge of a cycle is in no minimum spanning tree."""
    x, y, z = (90, 200), (200, 70), (310, 200)
    body = [
        line(x, y, "hot"),
        line(y, z, "hot"),
        line(x, z, "bad"),
        dot(x, "x", (-20, 5)),
        dot(y, "y"),
        dot(z, "z", (20, 5)),
        text((130, 128), "3 rows", "hot-ink", "end"),
        text((272, 128), "4 rows", "hot-ink", "start"),
        text((200, 226), "7 rows differ", "bad-ink"),
    ]
    said = (
        "x – z is longer than each step",
        "of the way round, 3 and 4: it is",
        "in no minimum spanning tree, so",
        "neither is the other's parent.",
    )
    body += [text((370, 104 + 24 * k), line_, "ink", "start") for k, line_ in enumerate(said)]
    return 250, body


DRAWINGS = {
    f.__name__.replace("_", "-"): f
    for f in (inner_products, polarity, turning_back, cycle_property)
}


def drawing(name: str) -> str:
    """One of DRAWINGS as an SVG document."""
    height, body = DRAWINGS[name]()
    title = (DRAWINGS[name].__doc__ or "").rstrip(".")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img"'
        ' font-family="Inter, Helvetica, Arial, \'DejaVu Sans\', sans-serif" font-size="15">'
    )
    card = f'<rect class="card" width="{WIDTH}" height="{height}" rx="8"/>'
    parts = [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", card, *body]
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    for name in DRAWINGS:
        (FOLDER / f"{name}.svg").write_text(drawing(name), encoding="utf-8")
