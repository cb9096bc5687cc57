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
from mother.graph.grades import grade
from mother.graph.verdict import Verdict, certainty, of_edge, resamplings
from mother.names import spelled

#: what an edge's ends are to each other, whichever way it goes
MUTUAL = ("distance", "support", "rank")
FIGURES = ("distance", "polarity", "direction_probability", "support", "rank", "share")


@dataclass(frozen=True)
class Lineage:
    """A model with the edge from its parent or the hidden ancestor it hangs from, if either is
    known; and the edges at whose other end is a model of which we don't know that it is an
    ancestor. also: of a merge, the edges from its further parents. accounts: what is told of each
    parent; asides: of each of the others."""

    node: Node
    parent: Edge | None
    hidden: HiddenAncestor | None
    beside: tuple[Edge, ...]
    also: tuple[Edge, ...]
    accounts: tuple[str, ...]
    asides: tuple[str, ...]

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


def claimed(edge: Edge) -> bool:
    """Whether the edge makes its parent an ancestor: it has a direction, and is not open.

    >>> claimed(Edge("a", "b", "lora", support=0.6)), claimed(Edge("a", "b", "lora", support=0.4))
    (True, False)
    """
    return directed(edge) and grade(edge) != "open"


def lineages(graph: ModelGraph) -> Iterator[Lineage]:
    """One for each model, in the graph's order."""
    known = ModelGraph(graph.method, edges=tuple(e for e in graph.edges if claimed(e)))
    parents, also = known.main_edges(), known.other_edges()
    hidden = {child: h for h in graph.hidden for child in h.children}
    beside: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if not claimed(edge):
            beside.setdefault(edge.parent, []).append(edge)
            beside.setdefault(edge.child, []).append(edge)
    for node in graph.nodes:
        edges = tuple(beside.get(node.id, ()))
        above, more = parents.get(node.id), tuple(also.get(node.id, ()))
        accounts = () if above is None else tuple(account(e, graph) for e in (above, *more))
        asides = tuple(aside(e, node.id, graph) for e in edges)
        yield Lineage(node, above, hidden.get(node.id), edges, more, accounts, asides)


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


def account(edge: Edge, graph: ModelGraph) -> str:
    """The evidence of a graph's edge in one line.

    >>> edge = Edge("a", "b", "lora", distance=0.0123, support=0.98, rank=8)
    >>> account(edge, ModelGraph("gram", options={"bootstrap": 100}))
    "likely: probably LoRA-tuned (rank 8) from a; 1.2 % of its weights' norm changed; found in 98 \
of 100 resamplings"
    """
    verdict = verdict_of(edge, graph)
    parts = [f"{verdict.grade}: {verdict}"]
    if directed(edge):
        parts += [spelled(reason.says) for reason in edge.evidence]
        if edge.runner_up is not None:
            parts.append(f"next best parent {spelled(edge.runner_up)}")
    return "; ".join(parts)


def aside(edge: Edge, id: str, graph: ModelGraph) -> str:
    """What an edge that makes nobody an ancestor says of the model `id`.

    >>> aside(Edge("a", "b", "duplicate"), "a", ModelGraph("gram"))
    'same weights as b'
    >>> aside(Edge("a", "b", "lora", support=0.3), "b", ModelGraph("gram"))
    'related to a: open: perhaps LoRA-tuned from a; found in 30 % of resamplings'
    >>> aside(Edge("a", "b", "lora", support=0.3), "a", ModelGraph("gram"))
    'related to b: open: b is perhaps LoRA-tuned from a; found in 30 % of resamplings'
    """
    name = spelled(other(edge, id))
    if edge.relation == "duplicate":
        return f"same weights as {name}"
    verdict = verdict_of(edge, graph)
    whose = f"{name} is " if id == edge.parent else ""
    return f"related to {name}: {verdict.grade}: {whose}{verdict}"


def verdict_of(edge: Edge, graph: ModelGraph) -> Verdict:
    """A graph's edge in words, names spelled."""
    return of_edge(edge, resamplings=resamplings(graph), method=graph.method, name=spelled)


def figures_of(node: Node) -> dict[str, str | int | float]:
    """Which model holds the same bytes, how many are free without it, and which shares of its
    weights and bytes were compared and read; what is known of these.

    >>> figures_of(Node("b", "b", "npz", "a1", 10, identical_to="a", freed=80, compared=0.5))
    {'identical_to': 'a', 'freed': 80, 'compared': 0.5}
    """
    same = None if node.identical_to is None else spelled(node.identical_to)
    shares = {"compared": rounded(node.compared), "read": rounded(node.read)}
    known = {"identical_to": same, "freed": node.freed, **shares}
    return {name: value for name, value in known.items() if value is not None}


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
    {'inferred:license': 'mit (inferred, 92 % sure: its parent says mit)'}
    """
    found: dict[str, dict[str, str]] = {}
    for told in graph.stated:
        of = found.setdefault(told.model, {})
        of[f"stated:{spelled(told.attribute)}"] = f"{_value(told)} ({spelled(told.source)})"
    for guess in graph.inferred:
        sure = f", {certainty(guess.probability)} sure" if guess.probability is not None else ""
        if guess.low is not None and guess.high is not None:
            sure += f" from {guess.low:.4g} to {guess.high:.4g}"
        of = found.setdefault(guess.model, {})
        said = f"{_value(guess)} (inferred{sure}: {spelled(guess.why)})"
        of[f"inferred:{spelled(guess.attribute)}"] = said
    return found


def _value(of: Statement | Inference) -> str:
    return f"{of.number:.6g}" if of.number is not None else spelled(", ".join(of.texts)) or "none"
