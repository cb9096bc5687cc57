"""The forest as a still picture: SVG of our own, PNG made from it."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate
from xml.sax.saxutils import escape, quoteattr

from mother.errors import UsageError
from mother.graph import ModelGraph
from mother.graph.verdict import Verdict, ancestor, certainty, of_models
from mother.views.outline import Item, outline
from mother.views.palette import OTHER, RELATIONS
from mother.views.terminal import printable, shortened
from mother.views.tidy import tidy

ROW, GAP, MARGIN, SIZE = 22.0, 72.0, 20.0, 12.0  # in pixels; SIZE of the letters
_LONGEST = 48  # letters of a name
_PIXELS = 64_000_000  # of a PNG, 256 MB while it is drawn
_SHOWN = 120  # models in a notebook
_INK, _SOFT, _FAINT = "#1f2328", "#59636e", "#8c959f"
_DASHES = ' stroke-dasharray="3 3"'
_SIDES = ("width", "height")
_NARROW, _WIDE = set("iljtfrI.,:;'|!()[]/- "), set("mwMW@%")


def svg(graph: ModelGraph, *, depth: int | None = None, trees: int | None = None) -> str:
    """The forest as an SVG document. Width of a line: support, written above it in per cent;
    colour: relation; dashes: an ancestor that is not among the inputs; a diamond: direction
    unknown. depth: levels below the roots; trees: that many from the first.

    >>> svg(ModelGraph("gram")).startswith("<svg")
    True
    """
    items = outline(graph)
    roots = [k for k, item in enumerate(items) if item.parent < 0]
    deepest = len(items) if depth is None else depth
    kept = roots if trees is None else roots[:trees]
    rows = _rows(items, kept, deepest)
    left = _columns(items, rows, deepest)
    told = of_models(graph)
    body = [part for k in rows for part in _item(items, k, rows, left, deepest, told)]
    below = (max(rows.values(), default=0.0) + 1.0) * ROW + MARGIN
    if len(kept) < len(roots):
        more = f"… {len(roots) - len(kept)} more trees"
        body.append(_text(MARGIN, below, more, fill=_SOFT))
        below += ROW
    legend, wide = _legend(items, rows, below + SIZE)
    right = max((_right(items[k], left, deepest) for k in rows), default=0.0)
    width, height = max(right, wide) + MARGIN, below + SIZE + MARGIN
    title = _counts(items)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label={quoteattr(title)} '
            f"font-family=\"Inter, Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
            f'font-size="{SIZE:g}">',
            f"<title>{title}</title>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *body,
            *legend,
            "</svg>\n",
        ]
    )


def png(graph: ModelGraph, *, depth: int | None = None, scale: float = 2.0) -> bytes:
    """The same as PNG, `scale` pixels to one of the SVG. Letters come from the fonts installed.
    UsageError if it would be too large, ImportError if resvg-py is not installed."""
    try:
        import resvg_py
    except ImportError as absent:
        raise ImportError(
            "resvg-py is not installed; run: pip install 'mother-recovery[png]'"
        ) from absent
    drawing = svg(graph, depth=depth)
    width, height = (float(drawing.split(f'{side}="')[1].split('"')[0]) for side in _SIDES)
    if width * height * scale**2 > _PIXELS:
        size = f"{width * scale:.0f} x {height * scale:.0f} pixels"
        raise UsageError(f"a picture of {size} is too large; give --depth, or write .svg")
    return bytes(resvg_py.svg_to_bytes(svg_string=drawing, zoom=scale))


def notebook(graph: ModelGraph) -> str:
    """A small picture as HTML that can run nothing, whatever the names are: an image in which no
    script is allowed. Levels and trees that don't fit are left out, and counted."""
    items = outline(graph)
    depth = 0
    while sum(item.depth <= depth + 1 for item in items) <= _SHOWN and depth < len(items):
        depth += 1
    drawing = svg(graph, depth=depth, trees=_SHOWN)
    words = f"{_counts(items)}, recovered by {printable(graph.method)}"
    data = base64.b64encode(drawing.encode()).decode("ascii")
    return (
        f'<img alt={quoteattr(f"Family forest: {words}")} style="max-width:100%" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


def _counts(items: list[Item]) -> str:
    models = sum(item.hidden is None for item in items)
    trees = sum(item.parent < 0 for item in items)
    return f"{models} model{'s' * (models != 1)} in {trees} tree{'s' * (trees != 1)}"


def _rows(items: list[Item], roots: Sequence[int], deepest: int) -> dict[int, float]:
    """Where each item lies, in rows from the top; trees one below the other."""
    rows: dict[int, float] = {}
    top, alone = 0.5, True
    for root in roots:
        tree = tidy(root, lambda k: items[k].children if items[k].depth < deepest else ())
        first, last = min(tree.values()), max(tree.values())
        single = len(tree) == 1
        top += 0.7 if rows and not (alone and single) else 0.0
        alone = single
        rows |= {k: row - first + top for k, row in tree.items()}
        top += last - first + 1
    return rows


def _columns(items: list[Item], rows: dict[int, float], deepest: int) -> list[float]:
    """Left edges by depth: as wide as the widest name beside which something lies further right."""
    widths: list[float] = []
    furthest: dict[int, int] = {}  # by quarter of a row
    for k, row in rows.items():
        furthest[round(4 * row)] = max(furthest.get(round(4 * row), 0), items[k].depth)
    for k, row in rows.items():
        item = items[k]
        widths += [0.0] * (item.depth + 1 - len(widths))
        near = range(round(4 * row) - 3, round(4 * row) + 4)  # less than a row away
        beside = any(furthest.get(line, 0) > item.depth for line in near)
        if (item.children and item.depth < deepest) or beside:
            width = _width(_name(item), bold=item.parent < 0)
            widths[item.depth] = max(widths[item.depth], width)
    return list(accumulate((w + GAP for w in widths), initial=MARGIN + 4))


def _name(item: Item) -> str:
    return shortened(ancestor(item.hidden) if item.hidden else printable(item.id), _LONGEST)


def _share(support: float) -> str:
    """As `certainty` has it, in the room of two digits.

    >>> _share(0.87), _share(1.0), _share(0.0)
    ('87', '>99', '<1')
    """
    return certainty(support).removesuffix(" %").replace("over ", ">").replace("under ", "<")


def _right(item: Item, left: list[float], deepest: int) -> float:
    cut = 60.0 if item.below and item.depth >= deepest else 0.0
    return left[item.depth] + 10 + _width(_name(item), bold=item.parent < 0) + cut


def _item(
    items: list[Item],
    k: int,
    rows: dict[int, float],
    left: list[float],
    deepest: int,
    told: dict[str, Verdict],
) -> Iterator[str]:
    item, x, y = items[k], left[items[k].depth], rows[k] * ROW + MARGIN
    edge = item.edge
    colour = RELATIONS.get(edge.relation, OTHER)[0] if edge else _FAINT
    if item.parent >= 0:
        above = items[item.parent]
        bend, there = x - GAP + 10, rows[item.parent] * ROW + MARGIN
        middle = (bend + x - 34) / 2
        support = 1.0 if edge is None or edge.support is None else edge.support
        dashes = "" if edge else _DASHES
        if k == above.children[0]:
            start = left[above.depth] + 10 + _width(_name(above), bold=above.parent < 0) + 6
            yield (
                f'<path d="M{start:.1f} {there:.1f}H{bend:.1f}" stroke="{_FAINT}"'
                f"{_DASHES if above.hidden else ''}/>"
            )
        yield (
            f'<path d="M{bend:.1f} {there:.1f}C{middle:.1f} {there:.1f} {middle:.1f} '
            f'{y:.1f} {x - 34:.1f} {y:.1f}H{x - 7:.1f}" fill="none" stroke="{colour}" '
            f'stroke-width="{0.6 + 1.2 * max(0.0, min(1.0, support)):.2f}"{dashes}/>'
        )
        if edge is not None and edge.undirected:
            yield (
                f'<path d="M{x - 14:.1f} {y:.1f}l4 -4l4 4l-4 4z" fill="#ffffff" stroke="{colour}"/>'
            )
        if edge is not None and edge.support is not None:
            yield _text(x - 20, y - 4, _share(edge.support), fill=_SOFT, size=9, anchor="middle")
    called = ancestor(item.hidden) if item.hidden else printable(item.id)
    said = told.get(item.id, Verdict("", ""))
    words = ": ".join((called, *filter(None, (said.grade, str(said)))))
    dot = 'fill="#ffffff" stroke-dasharray="2 2"' if item.hidden else f'fill="{colour}"'
    yield f"<g><title>{escape(words)}</title>"
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {dot} stroke="{colour}"/>'
    style = ' font-style="italic"' if item.hidden else ""
    weight = ' font-weight="600"' if item.parent < 0 and not item.hidden else ""
    ink = _SOFT if item.hidden else _INK
    yield _text(x + 10, y + 4, _name(item), fill=ink, more=style + weight) + "</g>"
    if item.below and item.depth >= deepest:
        yield _text(_right(item, left, deepest) - 54, y + 4, f"+ {item.below}", fill=_SOFT)


def _legend(items: list[Item], rows: dict[int, float], y: float) -> tuple[list[str], float]:
    edges = [edge for k in rows if (edge := items[k].edge) is not None]
    marks = [
        (shortened(printable(name), _LONGEST), RELATIONS.get(name, OTHER)[0], "", "")
        for name in sorted({edge.relation for edge in edges})
    ]
    if any(items[k].hidden for k in rows):
        marks.append(("hidden ancestor", _FAINT, _DASHES, ""))
    if any(edge.undirected for edge in edges):
        marks.append(("direction unknown", _SOFT, "", "l4 -4l4 4l-4 4z"))
    if any(edge.support is not None for edge in edges):
        marks.append(("number and width: support in %", "", "", ""))
    out, x = [], MARGIN
    for words, colour, dashes, diamond in marks:
        if colour:
            out.append(
                f'<path d="M{x:.1f} {y - 4:.1f}h20" stroke="{colour}" stroke-width="2"{dashes}/>'
            )
            if diamond:
                out.append(
                    f'<path d="M{x + 6:.1f} {y - 4:.1f}{diamond}" fill="#ffffff" '
                    f'stroke="{colour}"/>'
                )
            x += 26
        out.append(_text(x, y, words, fill=_SOFT, size=11))
        x += _width(words) * 11 / SIZE + 22
    return out, x


def _text(
    x: float,
    y: float,
    words: str,
    *,
    fill: str,
    size: float = SIZE,
    anchor: str = "",
    more: str = "",
) -> str:
    at = f' text-anchor="{anchor}"' if anchor else ""
    big = "" if size == SIZE else f' font-size="{size:g}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}"{big}{at}{more}>{escape(words)}</text>'


def _width(words: str, *, bold: bool = False) -> float:
    """About what a sans-serif needs, on the wide side: whatever font the reader has must fit."""
    return (
        SIZE
        * (1.07 if bold else 1.0)
        * sum(
            1.0
            if unicodedata.east_asian_width(c) in "WF"
            else 0.34
            if c in _NARROW
            else 0.92
            if c in _WIDE
            else 0.66
            if c.isupper() or c.isdigit()
            else 0.6
            for c in words
        )
    )
