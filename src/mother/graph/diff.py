"""What changed from one recovered graph to another, as after a week of new models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mother.graph.grades import equal, grade
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, HiddenAncestor, Node


@dataclass(frozen=True)
class Regraded:
    """An edge that both graphs hold, and tell otherwise: its step, or how sure it is."""

    before: Edge
    now: Edge


@dataclass(frozen=True)
class Difference:
    """From an old graph to a new one, by ids of the new one where it has the model.

    added, gone: models. renamed: old and new id of models that hold the same bytes. replaced:
    models that hold other bytes than the one of that name did. gained, lost: edges. turned: edges
    that point the other way now. regraded: edges that are told otherwise. inferred, dropped: hidden
    ancestors, which are the same by what hangs from them.
    """

    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    replaced: tuple[str, ...] = ()
    gained: tuple[Edge, ...] = ()
    lost: tuple[Edge, ...] = ()
    turned: tuple[Edge, ...] = ()
    regraded: tuple[Regraded, ...] = ()
    inferred: tuple[HiddenAncestor, ...] = ()
    dropped: tuple[HiddenAncestor, ...] = ()


def difference(old: ModelGraph, new: ModelGraph) -> Difference:
    """What changed. Models are the same by id, and by the SHA-256 of their files where both graphs
    note it; of several with the same bytes the first by name.

    >>> one = ModelGraph("gram", edges=(Edge("a", "b", "lora"), Edge("b", "c", "lora")))
    >>> two = ModelGraph("gram", edges=(Edge("b", "a", "lora"), Edge("a", "c", "lora")))
    >>> found = difference(one, two)
    >>> [(e.parent, e.child) for e in found.turned], [e.parent for e in found.gained]
    ([('b', 'a')], ['a'])
    """
    olds, news = ({node.id: node for node in graph.nodes} for graph in (old, new))
    renamed = _renamed(olds, news)
    called = {id_: renamed.get(id_, id_) for id_ in olds}
    before = {_ends(edge, called): edge for edge in old.edges}
    now = {(edge.parent, edge.child): edge for edge in new.edges}
    reverse = {ends for ends in now if ends not in before and ends[::-1] in before}
    # of two that say nothing of who was first, how they are drawn is no finding
    turned = {ends for ends in reverse if _points(before[ends[::-1]]) or _points(now[ends])}
    lost = [e for ends, e in before.items() if ends not in now and ends[::-1] not in reverse]
    kept = [(before[ends], edge) for ends, edge in now.items() if ends in before]
    kept += [(before[ends[::-1]], now[ends]) for ends in now if ends in reverse - turned]
    gone = [id_ for id_ in olds if called[id_] not in news]
    inferred = {frozenset(h.children): h for h in new.hidden}
    dropped = {frozenset(called.get(c, c) for c in h.children): h for h in old.hidden}
    return Difference(
        tuple(sorted(news.keys() - called.values())),
        tuple(sorted(gone)),
        tuple(sorted(renamed.items())),
        tuple(id_ for id_ in olds if id_ in news and _other(olds[id_], news[id_])),
        tuple(e for ends, e in now.items() if ends not in before and ends not in reverse),
        tuple(lost),
        tuple(now[ends] for ends in now if ends in turned),
        tuple(Regraded(b, e) for b, e in kept if _told(b) != _told(e)),
        tuple(h for ends, h in inferred.items() if ends not in dropped),
        tuple(h for ends, h in dropped.items() if ends not in inferred),
    )


def _renamed(olds: Mapping[str, Node], news: Mapping[str, Node]) -> dict[str, str]:
    """New ids by old ones, of models that have another name and the same bytes."""
    of: dict[tuple[str, ...], list[str]] = {}
    for id_ in sorted(news.keys() - olds.keys()):
        if content := _content(news[id_]):
            of.setdefault(content, []).append(id_)
    found = {}
    for id_ in sorted(olds.keys() - news.keys()):
        same = of.get(_content(olds[id_]), [])
        if same:
            found[id_] = same.pop(0)
    return found


def _content(node: Node) -> tuple[str, ...]:
    """The hashes of a model's files; none where one is not known."""
    known = sorted(file.sha256 for file in node.files if file.sha256 is not None)
    return tuple(known) if len(known) == len(node.files) else ()


def _other(one: Node, two: Node) -> bool:
    return bool(_content(one) and _content(two)) and _content(one) != _content(two)


def _ends(edge: Edge, called: Mapping[str, str]) -> tuple[str, str]:
    return called.get(edge.parent, edge.parent), called.get(edge.child, edge.child)


def _points(edge: Edge) -> bool:
    """Whether an edge says which of the two came first."""
    return not (edge.undirected or equal(edge))


def _told(edge: Edge) -> tuple[str, str]:
    return edge.relation, grade(edge)
