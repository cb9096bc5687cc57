"""How sure what was found of an edge is: strong, likely or open; and why somebody has to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, Hint, Node
from mother.thresholds import LIKELY, MOST

#: from the surest
GRADES = ("strong", "likely", "open")
CLOSE_SECOND = 1.1  # times as far: a second parent nearer than that might as well be the first
#: relations that are seen in the weights themselves, whether or not a probability was measured
_SEEN = {"duplicate", "converted", "quantized", "pruned"}


def grade(edge: Edge) -> str:
    """How sure an edge is: as its place in the tree or as its direction, whichever is less.

    >>> grade(Edge("a", "b", "lora", direction_probability=0.97, support=0.95))
    'strong'
    >>> grade(Edge("a", "b", "lora", direction_probability=0.97, support=0.7))
    'likely'
    >>> grade(Edge("a", "b", "lora", direction_probability=0.6, undirected=True))
    'open'
    """
    return max(place(edge), direction(edge), key=GRADES.index)


def place(edge: Edge) -> str:
    """How sure it is that one of the two was made from the other, with no model between them.

    >>> from mother.graph import Probabilities
    >>> place(Edge("a", "b", "lora", probabilities=Probabilities(0.7, 0.1, 0.2)))
    'likely'
    """
    least = min((x for x in (edge.support, joined(edge)) if x is not None), default=1.0)
    if least < MOST:
        return "open"
    return "likely" if least < LIKELY or rivalled(edge) else "strong"


def joined(edge: Edge) -> float | None:
    """The probability that one of the two was made from the other."""
    return None if edge.probabilities is None else 1 - edge.probabilities.siblings


def rivalled(edge: Edge) -> bool:
    """Whether the next best parent is about as near."""
    return edge.runner_up_ratio is not None and edge.runner_up_ratio < CLOSE_SECOND


def direction(edge: Edge) -> str:
    """How sure it is which of the two came first. Of equal weights nothing is claimed there."""
    if equal(edge):
        return "strong"
    if edge.undirected:
        return "open"
    p = edge.direction_probability
    if p is None:
        return "strong" if edge.relation in _SEEN else "likely"
    return "strong" if p >= LIKELY else "likely"


def equal(edge: Edge) -> bool:
    """Whether both hold the same weights, stored alike or not, so that nothing tells which was
    first. What was done to a model by hand has a scheme, too, and is no copy.

    >>> equal(Edge("a", "b", "quantized", scheme="int8", undirected=True))
    True
    >>> equal(Edge("a", "b", "fine-tune", scheme="no plain training", undirected=True))
    False
    """
    stored = edge.relation in ("converted", "quantized") and edge.undirected
    return edge.relation == "duplicate" or stored


#: why somebody has to look at a model
NEEDS: Mapping[str, str] = {
    "direction": "which came first is open",
    "support": "found in fewer than 90 % of resamplings",
    "rival": "a second parent is about as near",
    "contradicted": "the weights disagree with what its files claim",
    "undeclared": "it has a parent, and its files name none",
    "unread": "not all of it could be read",
}


def needs(
    edges: Sequence[Edge], node: Node | None, hints: Sequence[Hint], *, hinted: bool
) -> list[str]:
    """Which of NEEDS hold of a model. edges: to it. hinted: whether files were asked what they
    claim, so that silence counts.

    >>> needs([Edge("a", "b", "lora", support=0.8)], None, [], hinted=True)
    ['support', 'undeclared']
    """
    claims = [hint for hint in hints if hint.kind == "claim"]
    known = {
        "direction": any(direction(edge) == "open" for edge in edges),
        "support": any(edge.support is not None and edge.support < LIKELY for edge in edges),
        "rival": any(map(rivalled, edges)),
        "contradicted": any(hint.agrees is False for hint in claims),
        "undeclared": hinted and not claims and not all(map(equal, edges)),
        "unread": node is not None and node.compared is not None and node.compared < LIKELY,
    }
    return [need for need in NEEDS if known[need]]


def tally(graph: ModelGraph) -> Counter[str]:
    """How many edges are strong, likely and open.

    >>> sorted(tally(ModelGraph("gram", edges=(Edge("a", "b", "duplicate"),))).items())
    [('strong', 1)]
    """
    return Counter(grade(edge) for edge in graph.edges)
