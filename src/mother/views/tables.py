"""Small tables that notebooks show. Names come from strangers: all of them are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from mother.graph import Edge
from mother.graph.verdict import of_edge
from mother.names import printable, shortened

if TYPE_CHECKING:
    from mother.graph.comparison import Comparison

_ROWS = 60
_LONGEST = 60  # letters of a cell
_EDGE = ("parent", "child", "relation", "grade", "figures")
_WHY = ("kind", "log-odds", "says")
_LAYER = ("layer", "weights", "cosine", "change", "polarity", "log-odds")


def of_edges(edges: Sequence[Edge], method: str) -> str:
    """A row an edge, the first so many of them. method: that found them, "" if not known."""
    return _table(_EDGE, (_edge(edge, method) for edge in edges), len(edges))


def _edge(edge: Edge, method: str) -> list[str]:
    told = of_edge(edge, method=method)
    names = [_cell(x) for x in (edge.parent, edge.child, edge.relation, told.grade)]
    return [*names, escape(printable("; ".join(told.figures)))]


def of_comparison(comparison: Comparison) -> str:
    """What it is, why, and the layers."""
    from mother.views.comparing import relation

    said = "".join(f"<p>{escape(printable(line))}</p>" for line in relation(comparison))
    found, layers = comparison.evidence, comparison.from_parent
    reasons = ([_cell(e.kind), _cell(e.log_odds), escape(printable(e.says))] for e in found)
    why = _table(_WHY, reasons, len(found))
    figures = ((x.name, x.weights, x.cosine, x.change, x.polarity, x.log_odds) for x in layers)
    by_layer = _table(_LAYER, ([*map(_cell, row)] for row in figures), len(layers))
    return said + why + by_layer


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return escape(shortened(printable(str(value)), _LONGEST))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], many: int) -> str:
    if not many:
        return ""
    shown = [row for row, _ in zip(rows, range(_ROWS), strict=False)]
    body = "".join("<tr>" + "".join(f"<td>{x}</td>" for x in row) + "</tr>" for row in shown)
    top = "".join(f"<th>{name}</th>" for name in head)
    more = f"<p>… {many - len(shown)} more</p>" if many > len(shown) else ""
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>{more}"
