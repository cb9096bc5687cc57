"""Who comes from whom in a recovered graph, and how sure that is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mother.graph.grades import place
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge


@dataclass(frozen=True)
class Step:
    """One step up. kind: "edge" with its `edge`; "copy", the same weights; "hidden", to or from an
    ancestor that is not among the inputs; "claim", of what can't be compared."""

    kind: str
    child: str
    parent: str
    edge: Edge | None = None


Line = tuple[Step, ...]


@dataclass(frozen=True)
class Ancestry(Mapping[str, Line]):
    """The ancestors of a model, each with the line up to it. last: by ancestor, the line's last
    step; lines are put together when asked for, since they can be long."""

    last: Mapping[str, Step]

    def __getitem__(self, id: str) -> Line:
        steps = [self.last[id]]
        while steps[-1].child in self.last:
            steps.append(self.last[steps[-1].child])
        return tuple(reversed(steps))

    def __iter__(self) -> Iterator[str]:
        return iter(self.last)

    def __len__(self) -> int:
        return len(self.last)


@dataclass(frozen=True)
class Descent:
    """certainty: direction probability from which an edge counts as pointing its way. declared:
    parents that models claim and that weights could not show, followed like edges."""

    graph: ModelGraph
    certainty: float
    declared: Mapping[str, tuple[str, ...]]

    def points(self, edge: Edge) -> bool:
        """Whether the edge makes its parent an ancestor: its direction is told, and it is not open
        whether one of the two was made from the other."""
        return self.directed(edge) and place(edge) != "open"

    def directed(self, edge: Edge) -> bool:
        """Whether the weights tell the edge's direction."""
        p = edge.direction_probability
        return not edge.undirected if p is None else p >= self.certainty

    def copies(self, id: str) -> tuple[str, ...]:
        """All ids with the same weights bit for bit, the id's own too, sorted."""
        return self._copies.get(id, (id,))

    def ancestors(self, id: str, *, possible: bool = False) -> Ancestry:
        """All ancestors, nearest first; copies of the model and of its ancestors count. possible:
        also those that are ancestors if an open edge is right, or points that way."""
        if (id, possible) not in self._found:
            self._found[id, possible] = Ancestry(self._climb(id, possible))
        return self._found[id, possible]

    def _climb(self, id: str, possible: bool) -> dict[str, Step]:
        found: dict[str, Step] = {}
        waiting = deque([id])
        while waiting:
            at = waiting.popleft()
            for step in self._above(at, possible):
                if step.parent not in found and step.parent != id:
                    found[step.parent] = step
                    # a copy is no further away than what it is a copy of
                    (waiting.appendleft if step.kind == "copy" else waiting.append)(step.parent)
        return found

    def _above(self, at: str, possible: bool) -> Iterator[Step]:
        for copy in self.copies(at):
            if copy != at:
                yield Step("copy", at, copy)
        for edge in self._edges.get(at, ()):
            if edge.child == at and (possible or self.points(edge)):
                yield Step("edge", at, edge.parent, edge)
            elif edge.parent == at and possible and not self.directed(edge):
                yield Step("edge", at, edge.child, edge)
        for parent in self._hidden.get(at, ()):
            yield Step("hidden", at, parent)
        for parent in self.declared.get(at, ()):
            yield Step("claim", at, parent)

    @cached_property
    def _found(self) -> dict[tuple[str, bool], Ancestry]:
        return {}

    @cached_property
    def _edges(self) -> dict[str, list[Edge]]:
        by: dict[str, list[Edge]] = {}
        for edge in self.graph.edges:
            if edge.relation != "duplicate":
                by.setdefault(edge.child, []).append(edge)
                by.setdefault(edge.parent, []).append(edge)
        return by

    @cached_property
    def _hidden(self) -> dict[str, list[str]]:
        up: dict[str, list[str]] = {}
        for hidden in self.graph.hidden:
            for child in hidden.children:
                up.setdefault(child, []).append(hidden.id)
            if hidden.parent is not None:
                up.setdefault(hidden.id, []).append(hidden.parent)
        return up

    @cached_property
    def _copies(self) -> dict[str, tuple[str, ...]]:
        classes: dict[str, list[str]] = {}
        for edge in self.graph.edges:
            if edge.relation == "duplicate":
                classes.setdefault(edge.parent, [edge.parent]).append(edge.child)
        return {id_: tuple(sorted(ids)) for ids in classes.values() for id_ in ids}
