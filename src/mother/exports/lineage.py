"""What a graph lets us say of each model, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mother.graph import (
    Edge,
    HiddenAncestor,
    Inference,
    ModelGraph,
    Node,
    Statement,
    rounded,
)
from mother.graph.verdict import of_edge
from mother.names import spelled

#: what an edge's ends are to each other, whichever way it goes
MUTUAL = ("distance", "support", "rank")
FIGURES = ("distance", "polarity", "direction_probability", "support", "rank", "share")


@dataclass(frozen=True)
class Lineage:
    """A model with the edge from its parent or the hidden ancestor it hangs from, if either is
    known; and the edges at whose other end is a model of which we don't know that it came first.
    also: of a merge, the edges from its further parents."""

    node: Node
    parent: Edge | None
    hidden: HiddenAncestor | None
    beside: tuple[Edge, ...]
    also: tuple[Edge, ...] = ()

    @property
    def parents(self) -> tuple[Edge, ...]:
        """The edges from all parents that are known, the main one first."""
        return (self.parent, *self.also) if self.parent is not None else ()


def directed(edge: Edge) -> bool:
    """Whether the edge says who came first. Of two copies, nobody knows which is the original.

    >>> directed(Edge("a", "b", "lora")), directed(Edge("a", "b", "duplicate"))
    (True, False)
    """
    return not edge.undirected and edge.relation != "duplicate"


def lineages(graph: ModelGraph) -> Iterator[Lineage]:
    """One for each model, in the graph's order."""
    known = ModelGraph(graph.method, edges=tuple(e for e in graph.edges if directed(e)))
    parents, also = known.main_edges(), known.other_edges()
    hidden = {child: h for h in graph.hidden for child in h.children}
    beside: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if not directed(edge):
            beside.setdefault(edge.parent, []).append(edge)
            beside.setdefault(edge.child, []).append(edge)
    for node in graph.nodes:
        edges = tuple(beside.get(node.id, ()))
        above = parents.get(node.id)
        yield Lineage(node, above, hidden.get(node.id), edges, tuple(also.get(node.id, ())))


def other(edge: Edge, id: str) -> str:
    """The other end of an edge."""
    return edge.parent if edge.child == id else edge.child


def figures(edge: Edge) -> dict[str, float]:
    """The figures that the edge has, without those of a direction that it does not have."""
    found = {}
    for name in FIGURES if directed(edge) else MUTUAL:
        value = rounded(getattr(edge, name))
        if value is not None:
            found[name] = int(value) if name == "rank" else value
    return found


def account(edge: Edge) -> str:
    """The edge's evidence in one line.

    >>> account(Edge("a", "b", "lora", distance=0.0123, support=0.98, rank=8))
    "likely: probably LoRA-tuned (rank 8) from a; 1.2 % of its weights' norm changed; found in 98 \
% of resamplings"
    """
    verdict = of_edge(edge, name=spelled)
    parts = [f"{verdict.grade}: {verdict}"]
    if directed(edge):
        parts += [spelled(reason.says) for reason in edge.evidence]
        if edge.runner_up is not None:
            parts.append(f"next best parent {spelled(edge.runner_up)}")
    return "; ".join(parts)


def aside(edge: Edge, id: str) -> str:
    """What an edge without a direction says of the model `id`.

    >>> aside(Edge("a", "b", "duplicate"), "a")
    'same weights as b'
    """
    name = spelled(other(edge, id))
    if edge.relation == "duplicate":
        return f"same weights as {name}"
    verdict = of_edge(edge, beside=True, name=spelled)
    return f"related to {name}: {verdict.grade}: {verdict}"


def told(hidden: HiddenAncestor) -> str:
    """What a hidden ancestor is."""
    children = ", ".join(map(spelled, hidden.children))
    return f"Common ancestor of {children}; inferred from their weights, not among the inputs."


def attributes_of(graph: ModelGraph) -> dict[str, dict[str, str]]:
    """By model what is stated of it and what is inferred, as text, under `stated:` and `inferred:`
    and the attribute's name.

    >>> from mother.graph import Inference
    >>> guess = Inference("b", "license", ("mit",), probability=0.92, why="its parent says mit")
    >>> attributes_of(ModelGraph("", inferred=(guess,)))["b"]
    {'inferred:license': 'mit (inferred, probability 0.92: its parent says mit)'}
    """
    found: dict[str, dict[str, str]] = {}
    for told in graph.stated:
        of = found.setdefault(told.model, {})
        of[f"stated:{spelled(told.attribute)}"] = f"{_value(told)} ({spelled(told.source)})"
    for guess in graph.inferred:
        sure = f", probability {guess.probability:.3g}" if guess.probability is not None else ""
        if guess.low is not None and guess.high is not None:
            sure += f" from {guess.low:.4g} to {guess.high:.4g}"
        of = found.setdefault(guess.model, {})
        said = f"{_value(guess)} (inferred{sure}: {spelled(guess.why)})"
        of[f"inferred:{spelled(guess.attribute)}"] = said
    return found


def _value(of: Statement | Inference) -> str:
    return f"{of.number:.6g}" if of.number is not None else spelled(", ".join(of.texts)) or "none"
