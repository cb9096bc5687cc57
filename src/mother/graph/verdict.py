"""What was found of a model in plain words: a grade, a sentence, then figures with their units.

Everything that people read (terminal, page, gate, exports) is told by this module, so that the
same edge is told the same everywhere. One rule for certainty: a probability is rounded to whole
per cent and is never 0 % or 100 %, for no measurement is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mother.graph.facts import AS_GOOD_AS_WHOLE, compared
from mother.graph.grades import GRADES, direction, equal, grade, joined, place, rivalled
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, HiddenAncestor, Relabelled
from mother.names import printable

SENTENCE_MODELS = 3  # models that a sentence names

#: what was done to the parent, and the word before its name
STEPS: Mapping[str, tuple[str, str]] = {
    "fine-tune": ("fine-tuned", "from"),
    "continuation": ("trained further", "from"),
    "lora": ("LoRA-tuned", "from"),
    "adapter": ("an adapter", "on"),
    "duplicate": ("the same weights", "as"),
    "converted": ("converted to another number type", "from"),
    "quantized": ("quantized", "from"),
    "pruned": ("pruned", "from"),
    "merge": ("merged", "from"),
    "average": ("averaged", "from"),
    "edited": ("edited", "from"),
    "resized": ("resized", "from"),
    "reshaped": ("reshaped", "from"),
    "upcycled": ("upcycled", "from"),
    "contains": ("built around", ""),
    "relatives": ("a relative", "of"),
}
_OTHER_LAYOUT = "the same weights in another layout"
_ADVERBS = {"strong": "", "likely": "probably ", "open": "perhaps "}

Name = Callable[[str], str]


@dataclass(frozen=True)
class Verdict:
    """grade: of GRADES, "" where nothing is claimed. sentence: the finding and what is open about
    it. figures: what it rests on, each with its unit."""

    grade: str
    sentence: str
    figures: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join(part for part in (self.sentence, *self.figures) if part)


def certainty(p: float) -> str:
    """A probability for people.

    >>> certainty(0.984), certainty(1.0), certainty(0.997), certainty(0.001)
    ('98 %', 'over 99 %', 'over 99 %', 'under 1 %')
    """
    if not p < 0.995:
        return "over 99 %"
    return f"{100 * p:.0f} %" if p > 0.005 else "under 1 %"


def changed(distance: float) -> str:
    """How far a model went from its parent. distance: a share of the parent's norm.

    >>> changed(0.1208), changed(0.00123), changed(2.31), changed(0.0)
    ("12 % of its weights' norm changed", "0.12 % of its weights' norm changed", "its weights \
moved by 2.3 times the parent's norm", 'no weight changed')
    """
    if distance == 0:
        return "no weight changed"
    if 1 <= distance < 2:
        return f"{100 * distance:.0f} % of its weights' norm changed"
    if distance >= 2:
        return f"its weights moved by {_two(distance)} times the parent's norm"
    return f"{_two(100 * distance)} % of its weights' norm changed"


def found(support: float, resamplings: int | None = None) -> str:
    """In how many of the bootstrap's resamplings of the layers an edge was found again.

    >>> found(0.98, 100), found(1.0, 100)
    ('found in 98 of 100 resamplings', 'found in all 100 resamplings')
    >>> found(0.981)
    'found in 98 % of resamplings'
    """
    if not resamplings:
        return f"found in {certainty(support)} of resamplings"
    hits = round(support * resamplings)
    return f"found in {'all' if hits == resamplings else f'{hits} of'} {resamplings} resamplings"


def some(names: Sequence[str], name: Name = printable) -> str:
    """A few of several names.

    >>> some(["a", "b"]), some(list("abcdef"))
    ('a and b', 'a, b, c and 3 more')
    """
    told = [name(x) for x in names]
    if len(told) > SENTENCE_MODELS:
        return f"{', '.join(told[:SENTENCE_MODELS])} and {len(told) - SENTENCE_MODELS} more"
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def ancestor(hidden: HiddenAncestor, name: Name = printable) -> str:
    """A name for a hidden ancestor: by what hangs from it.

    >>> ancestor(HiddenAncestor("hidden:1", ("a", "b")))
    'hidden ancestor of a and b'
    """
    return f"hidden ancestor of {some(hidden.children, name)}"


def of_edge(
    edge: Edge,
    *,
    resamplings: int | None = None,
    method: str = "gram",
    beside: bool = False,
    name: Name = printable,
) -> Verdict:
    """An edge in words. resamplings: of the bootstrap, where known. method: that found it, ""
    if not known. beside: the parent stands beside what is written, and is not named again. name:
    how names are spelled.

    >>> edge = Edge("base", "kid", "fine-tune", None, 0.1208, 0.1, 0.6, 0.98, undirected=True)
    >>> print(of_edge(edge, resamplings=100))
    probably fine-tuned from base; which came first is open; 12 % of its weights' norm changed; \
found in 98 of 100 resamplings
    >>> print(of_edge(Edge("base", "kid", "lora", rank=8, direction_probability=0.98)))
    LoRA-tuned (rank 8) from base; 98 % sure of the direction
    """
    what, before = STEPS.get(edge.relation, (name(edge.relation), "of"))
    what = "converted" if _rescaled(edge) else what
    rank = f" (rank {edge.rank})" if edge.rank is not None else ""
    rank = f" ({name(edge.scheme)})" if edge.scheme else rank
    sure, came = place(edge), direction(edge)
    if edge.relation == "relatives":  # that they are is seen, and no more
        adverb, doubts = "", ["which came first is open"]
    elif equal(edge):
        what = "the same weights" if edge.relation == "duplicate" else _OTHER_LAYOUT
        what = f"the same weights ({name(edge.scheme)})" if edge.scheme else what
        adverb, before, rank = "", "as", ""
        doubts = ["which of the two came first is not told"]
    else:
        least = max(sure, "likely" if came == "open" else came, key=GRADES.index)
        adverb = _ADVERBS[least]
        doubts = ["which came first is open"] if came == "open" else []
    if rivalled(edge) and edge.runner_up is not None:
        doubts.append(f"{name(edge.runner_up)} is about as near")
    parent = [] if beside else [*filter(None, (before,)), name(edge.parent)]
    first = " ".join((f"{adverb}{what}{rank}", *parent))
    return Verdict(
        grade(edge), "; ".join((first, *doubts)), tuple(_figures(edge, resamplings, method))
    )


def _rescaled(edge: Edge) -> bool:
    """Whether the two differ by how they are scaled, which is no distance."""
    return edge.relation == "converted" and bool(edge.scheme)


def _figures(edge: Edge, resamplings: int | None, method: str) -> Iterable[str]:
    if (related := joined(edge)) is not None:
        yield f"{certainty(related)} sure that one was made from the other"
    if edge.direction_probability is not None and not edge.undirected:
        yield f"{certainty(edge.direction_probability)} sure of the direction"
    if edge.distance is not None and edge.relation != "duplicate" and not _rescaled(edge):
        unit = {"mother": ", as the paper measures it", "": ", in its method's own measure"}
        told = f"weight distance {edge.distance:.3g}{unit.get(method, '')}"
        yield told if method in unit else changed(edge.distance)
    if edge.support is not None:
        yield found(edge.support, resamplings)
    if edge.relabelled is not None:
        yield unhidden(edge.relabelled)


def stage(edge: Edge) -> str:
    """The stage of training, how sure, and what says so most; "" where nothing is told of it.

    >>> from mother.graph.parts import Evidence
    >>> why = Evidence("stage", -2.2, "3 were made from its parent"), Evidence("stage", 0.4, "far")
    >>> stage(Edge("a", "b", "lora", "specialization", generalization=0.14, stage_evidence=why))
    'stage of training: specialization, 86 % sure: 3 were made from its parent'
    >>> stage(Edge("a", "b", "fine-tune", generalization=0.4))
    'stage of training: open, specialization at 60 %'
    """
    p = edge.generalization
    doubt = ", if this direction is right" if edge.undirected else ""
    if p is None:
        return f"stage of training: {printable(edge.stage)}{doubt}" if edge.stage else ""
    likely, side = ("generalization", 1) if p > 0.5 else ("specialization", -1)
    if edge.stage is None:
        return f"stage of training: open, {likely} at {certainty(max(p, 1 - p))}"
    most = max(edge.stage_evidence, key=lambda reason: side * reason.log_odds, default=None)
    why = f": {printable(most.says)}" if most is not None else ""
    return f"stage of training: {likely}, {certainty(max(p, 1 - p))} sure{doubt}{why}"


def unhidden(told: Relabelled) -> str:
    """What hid two models from each other, and how unlikely it is that they are no kin.

    >>> unhidden(Relabelled(1e-20, 1.0, 2, ("units permuted", "signs flipped"), 3))
    'kin under other labels, p = 1e-20 (3 pairs tried), undone: units permuted, signs flipped'
    """
    tried = "1 pair" if told.tried == 1 else f"{told.tried} pairs"
    undone = f", undone: {', '.join(map(printable, told.undone))}" if told.undone else ""
    return f"kin under other labels, p = {_two(told.p)} ({tried} tried){undone}"


def of_models(
    graph: ModelGraph, *, beside: bool = False, name: Name = printable
) -> dict[str, Verdict]:
    """Every model and hidden ancestor of a graph in words, by id. A model with several parents is
    as sure as the least of its edges."""
    edges: dict[str, list[Edge]] = {}
    below: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        edges.setdefault(edge.child, []).append(edge)
        below.setdefault(edge.parent, []).append(edge)
    under = {child: hidden for hidden in graph.hidden for child in hidden.children}
    first = below.keys() | {h.parent for h in graph.hidden}
    known: dict[str, Verdict] = {}
    for node in graph.nodes:
        if node.id in edges:
            known[node.id] = of_parents(edges[node.id], graph, beside=beside, name=name)
        elif node.id in under:
            known[node.id] = of_child(under[node.id], node.id, beside=beside, name=name)
        elif node.id in first:
            known[node.id] = of_root(below.get(node.id, ()), name=name)
        else:
            known[node.id] = Verdict("", "no relative among the inputs")
        if node.compared is not None and node.compared < AS_GOOD_AS_WHOLE:
            own = known[node.id]
            known[node.id] = replace(own, figures=(*own.figures, compared(node.compared)))
    for hidden in graph.hidden:
        known[hidden.id] = of_hidden(hidden, beside=beside, name=name)
    return known


def of_parents(
    edges: Sequence[Edge], graph: ModelGraph, *, beside: bool = False, name: Name = printable
) -> Verdict:
    """All edges to one model together, figures by parent.

    >>> two = (Edge("a", "m", "merge", share=0.3), Edge("b", "m", "merge", None, 0.1, share=0.7))
    >>> of_parents(two, ModelGraph("gram")).sentence
    'probably merged from b (share 0.7) and a (share 0.3)'
    >>> of_parents(two, ModelGraph("gram")).figures
    ("b: 10 % of its weights' norm changed",)
    """
    n = resamplings(graph)
    if len(edges) == 1:
        return of_edge(edges[0], resamplings=n, method=graph.method, beside=beside, name=name)
    edges = sorted(edges, key=lambda edge: -(edge.share or 0.0))
    shares = {e.parent: f" (share {_two(e.share)})" for e in edges if e.share is not None}
    worst = max((grade(edge) for edge in edges), key=GRADES.index)
    what, before = STEPS.get(edges[0].relation, (name(edges[0].relation), "of"))
    parents = some([e.parent for e in edges], lambda x: name(x) + shares.get(x, ""))
    sentence = f"{_ADVERBS[worst]}{what} {before} {parents}"
    opened = [edge.parent for edge in edges if direction(edge) == "open"]
    if opened:
        sentence += f"; whether it or {some(opened, name)} came first is open"
    each = [(edge.parent, ", ".join(_figures(edge, n, graph.method))) for edge in edges]
    figures = tuple(f"{name(parent)}: {told}" for parent, told in each if told)
    return Verdict(worst, sentence, figures)


def of_root(edges: Sequence[Edge], *, name: Name = printable) -> Verdict:
    """A model above which nothing stands. edges: from it.

    >>> of_root([Edge("a", "b", "fine-tune", undirected=True)]).sentence
    'drawn as the first of its tree; whether it or b came first is open'
    """
    if opened := [edge.child for edge in edges if direction(edge) == "open"]:
        doubt = f"whether it or {some(opened, name)} came first is open"
        return Verdict("", f"drawn as the first of its tree; {doubt}")
    return Verdict("", "the first of its tree: no parent among the inputs")


def of_child(
    hidden: HiddenAncestor, id: str, *, beside: bool = False, name: Name = printable
) -> Verdict:
    """A model below a hidden ancestor. beside: that ancestor stands beside it.

    >>> hidden = HiddenAncestor("hidden:1", ("a", "b"))
    >>> of_child(hidden, "a").sentence
    'probably from a common ancestor with b; that ancestor is not among the inputs'
    >>> of_child(hidden, "a", beside=True).sentence
    'probably made from it'
    """
    if beside:
        return Verdict("likely", "probably made from it")
    others = [child for child in hidden.children if child != id]
    shared = f"a common ancestor with {some(others, name)}" if others else "an ancestor"
    return Verdict("likely", f"probably from {shared}; that ancestor is not among the inputs")


def of_hidden(hidden: HiddenAncestor, *, beside: bool = False, name: Name = printable) -> Verdict:
    """A hidden ancestor.

    >>> of_hidden(HiddenAncestor("hidden:1", ("a", "b"), "r")).sentence
    'inferred from what a and b have in common; not among the inputs; probably made from r'
    """
    if beside:
        made = "" if hidden.parent is None else "probably made from it; "
        return Verdict("likely", f"{made}not among the inputs")
    above = "" if hidden.parent is None else f"; probably made from {name(hidden.parent)}"
    common = f"inferred from what {some(hidden.children, name)} have in common"
    return Verdict("likely", f"{common}; not among the inputs{above}")


def resamplings(graph: ModelGraph) -> int | None:
    """How many resamplings a graph's support was taken from, where it tells."""
    count = graph.options.get("bootstrap")
    return count if isinstance(count, int) and count > 0 else None


def _two(x: float) -> str:
    """Two digits of a figure, without an exponent where it can be read without."""
    return f"{x:.2g}" if abs(x) < 0.001 or x >= 100 else f"{float(f'{x:.2g}'):g}"
