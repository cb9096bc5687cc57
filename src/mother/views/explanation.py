"""Why each edge is there, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mother.graph import Edge, Hint, ModelGraph
from mother.graph.verdict import of_edge, resamplings, stage
from mother.names import printable
from mother.views.hints import said

LOUDEST = 3  # layers named


def explanation(graph: ModelGraph) -> Iterator[str]:
    """Lines that say for each edge what decided it, and what the runner-up parent was.

    >>> edge = Edge("a", "b", "fine-tune", direction_probability=0.9, runner_up="c",
    ...             runner_up_ratio=1.5)
    >>> print(*explanation(ModelGraph("gram", edges=(edge,))), sep="\\n")
    b: strong: fine-tuned from a; 90 % sure of the direction
      next best parent: c, 1.5 times as far
    """
    architecture = {node.id: node.architecture for node in graph.nodes}
    hints: dict[str, list[Hint]] = {}
    for hint in graph.hints:
        hints.setdefault(hint.model, []).append(hint)
    for edge in graph.edges:
        verdict = of_edge(edge, resamplings=resamplings(graph), method=graph.method)
        yield f"{printable(edge.child)}: {verdict.grade}: {verdict}"
        yield from _edge(edge, graph.layers.get(architecture.get(edge.child, ""), ()))
        for hint in hints.get(edge.child, ()):
            yield f"  not from the weights: {said(hint)}"


def _edge(edge: Edge, layers: tuple[str, ...]) -> Iterator[str]:
    for reason in edge.evidence:
        yield f"  {odds(reason.log_odds)}: {printable(reason.says)}"
    if edge.polarity is not None:
        yield f"  polarity {edge.polarity:.3g} (0: the child holds all of its parent)"
    if edge.runner_up is not None:
        far = "" if edge.runner_up_ratio is None else f", {edge.runner_up_ratio:g} times as far"
        yield f"  next best parent: {printable(edge.runner_up)}{far}"
    if told := stage(edge):
        yield f"  {told}"
    changed = sorted(
        ((x, name) for x, name in zip(edge.changes, layers, strict=False) if x),
        key=lambda pair: (-pair[0], pair[1]),
    )
    if changed:
        most = ", ".join(f"{printable(name)} {x:.3g}" for x, name in changed[:LOUDEST])
        yield f"  changed most, as a share of the parent's norm: {most}"


def odds(log_odds: float) -> str:
    """Log-odds as odds for or against.

    >>> odds(2.0), odds(-5.0), odds(0.01)
    ('7.4 to 1 for', '150 to 1 against', 'either way')
    """
    side = "for" if log_odds > 0 else "against"
    size = abs(log_odds)
    if size < math.log(1.05):  # what would read as 1 to 1
        return "either way"
    ratio = f"{float(f'{math.exp(size):.2g}'):g}" if size < math.log(1e4) else "over 10000"
    return f"{ratio} to 1 {side}"
