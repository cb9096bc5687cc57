"""`ModelGraph`: what was recovered, and its versioned JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from mother.errors import InputError
from mother.graph.documents import parse_json, read_text
from mother.graph.parts import (
    Edge,
    Edges,
    HiddenAncestor,
    Hint,
    Inference,
    Node,
    Refused,
    Statement,
    Tree,
)
from mother.graph.plain import BEYOND, parsed, plain

if TYPE_CHECKING:
    import networkx
    import numpy as np
    import pandas
    from numpy.typing import NDArray

SCHEMA = "mother.model-graph/1"
SCHEMA_2 = "mother.model-graph/2"  # of graphs in which a model has several parents
MAX_GRAPH = 1 << 30  # bytes of a graph.json; more is no graph but a mistake, or worse


@dataclass(frozen=True, repr=False)
class ModelGraph:
    """A forest of model trees (paper, sec. 3), with evidence on every edge. Where models were
    merged it is an acyclic graph: a merge has an edge from each parent, with its share.

    layers: by architecture, the names of the layers that `Edge.changes` follows. hints: what files
    say beside the weights, where asked for; no edge depends on them. stated, inferred: attributes
    of models (see `mother.infer`), kept apart. unread: files beside the inputs that look like
    weights and that no reader took, each with what it is.

    >>> nodes = tuple(Node(name, name, "npz", "a1", 10) for name in "ab")
    >>> graph = ModelGraph("gram", nodes, (Edge("a", "b", "fine-tune"),), (Tree("a", ("a", "b")),))
    >>> graph.parent("b"), graph.children("a")
    ('a', ('b',))
    >>> ModelGraph.from_json(graph.to_json()) == graph
    True
    """

    method: str
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    trees: tuple[Tree, ...] = ()
    hidden: tuple[HiddenAncestor, ...] = ()
    refused: tuple[Refused, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hints: tuple[Hint, ...] = ()
    stated: tuple[Statement, ...] = ()
    inferred: tuple[Inference, ...] = ()
    unread: tuple[Refused, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", Edges(self.edges, self.method))

    @property
    def ids(self) -> list[str]:
        """Of all nodes, then of all hidden ancestors."""
        return [*(node.id for node in self.nodes), *(hidden.id for hidden in self.hidden)]

    def node(self, id: str) -> Node:
        """The node with that id; KeyError if there is none."""
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    def parent(self, id: str) -> str | None:
        """The main parent's id, or None for a root or a child of a hidden ancestor."""
        return next(iter(self.parents(id)), None)

    def parents(self, id: str) -> tuple[str, ...]:
        """The ids of all parents, the main one first: the one with the largest share."""
        above = (e for e in self.edges if e.child == id)
        return tuple(e.parent for e in sorted(above, key=_rank))

    @property
    def read(self) -> tuple[float, int] | None:
        """Which share of the files' bytes was read at most, and how many there are; None where all
        of every model was."""
        if all(node.read is None for node in self.nodes):
            return None
        sizes = [sum(file.bytes for file in node.files) for node in self.nodes]
        each = zip(sizes, self.nodes, strict=True)
        read = sum(size * (1.0 if node.read is None else node.read) for size, node in each)
        return read / max(sum(sizes), 1), sum(sizes)

    def main_edges(self) -> dict[str, Edge]:
        """By child, the edge from its main parent: the tree that is drawn.

        >>> edges = Edge("a", "m", "merge", share=0.3), Edge("b", "m", "merge", share=0.7)
        >>> ModelGraph("gram", edges=edges).main_edges()["m"].parent
        'b'
        """
        found: dict[str, Edge] = {}
        for edge in self.edges:
            if edge.child not in found or _rank(edge) < _rank(found[edge.child]):
                found[edge.child] = edge
        return found

    def other_edges(self) -> dict[str, list[Edge]]:
        """By merged child, the edges from its other parents, the largest share first.

        >>> edges = Edge("a", "m", "merge", share=0.3), Edge("b", "m", "merge", share=0.7)
        >>> [edge.parent for edge in ModelGraph("gram", edges=edges).other_edges()["m"]]
        ['a']
        """
        main = self.main_edges()
        found: dict[str, list[Edge]] = {}
        for edge in sorted(self.edges, key=_rank):
            if edge is not main[edge.child]:
                found.setdefault(edge.child, []).append(edge)
        return found

    def children(self, id: str) -> tuple[str, ...]:
        """The ids of the children, sorted."""
        return tuple(sorted(e.child for e in self.edges if e.parent == id))

    def hidden_edges(self) -> Iterator[tuple[str, str]]:
        """(parent, child) of the edges to and from hidden ancestors."""
        for ancestor in self.hidden:
            if ancestor.parent is not None:
                yield ancestor.parent, ancestor.id
            for child in ancestor.children:
                yield ancestor.id, child

    def to_networkx(self) -> networkx.DiGraph[str]:
        """As a networkx.DiGraph, figures as attributes, hidden ancestors as nodes `hidden=True`."""
        from mother.graph.conversions import to_networkx

        return to_networkx(self)

    def to_pandas(self, table: str = "edges") -> pandas.DataFrame:
        """As a pandas.DataFrame, figures in columns named as in graph.json; what is not known is
        missing. table: "edges", "nodes" or "trees", a row each. UsageError for another one."""
        from mother.graph.conversions import to_pandas

        return to_pandas(self, table)

    def distances(self) -> NDArray[np.float64]:
        """How far apart models are along the graph, (n, n) float64 in the order of `nodes`: the
        root of the sum of the squared distances of the edges between them, for steps are nearly
        orthogonal. Infinite between trees; NaN where an edge has no distance, as those of hidden
        ancestors. A merge hangs from its main parent.

        >>> nodes = tuple(Node(name, name, "npz", "a1", 10) for name in "abc")
        >>> edges = Edge("a", "b", "lora", distance=0.3), Edge("b", "c", "lora", distance=0.4)
        >>> ModelGraph("gram", nodes, edges).distances()[0].tolist()
        [0.0, 0.3, 0.5]
        """
        from mother.graph.conversions import distances

        return distances(self)

    def __repr__(self) -> str:
        counts = {
            "models": len(self.nodes),
            "edges": len(self.edges),
            "trees": len(self.trees),
            "hidden ancestors": len(self.hidden),
            "refused": len(self.refused),
        }
        told = ", ".join(f"{n} {what}" for what, n in counts.items())
        return f"ModelGraph(by {self.method!r}: {told})"

    def _repr_html_(self) -> str:
        """What a notebook shows: a picture of the forest."""
        from mother.views.picture import notebook  # a view of the graph; the graph needs none

        return notebook(self)

    def to_json(self) -> str:
        """Versioned JSON; the same graph gives the same bytes. Of schema /1 where no model has
        several parents, so that what reads it need not know of them."""
        several = any(e.share is not None for e in self.edges)
        several |= any(n.recipe is not None for n in self.nodes)
        content = {
            "schema": SCHEMA_2 if several else SCHEMA,
            "method": self.method,
            "options": dict(self.options),
            "nodes": [plain(x, _left_out(x, several)) for x in self.nodes],
            "edges": [plain(x, _left_out_of(x, several)) for x in self.edges],
            "hidden": [plain(x) for x in self.hidden],
            "trees": [plain(x) for x in self.trees],
            "refused": [plain(x) for x in self.refused],
            "layers": {key: list(names) for key, names in self.layers.items()},
        }
        if self.unread:
            content["unread"] = [plain(x) for x in self.unread]
        if self.hints:
            content["hints"] = [plain(x) for x in self.hints]
        if self.stated or self.inferred:
            content["stated"] = [plain(x) for x in self.stated]
            content["inferred"] = [plain(x) for x in self.inferred]
        return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelGraph:
        """Read it back. ValueError if it is not a graph of a schema that we know."""
        content = parse_json(text)
        if not isinstance(content, dict) or not str(content.get("schema", "")).startswith(
            "mother.model-graph/"
        ):
            raise ValueError("not a model graph: it has no schema mother.model-graph/…")
        if content["schema"] not in (SCHEMA, SCHEMA_2):
            raise ValueError(f"schema {content['schema']!r} is not known here; upgrade mother")
        try:
            graph = cls(
                str(content.get("method", "")),
                tuple(parsed(Node, content.get("nodes", []))),
                tuple(parsed(Edge, content.get("edges", []))),
                tuple(parsed(Tree, content.get("trees", []))),
                tuple(parsed(HiddenAncestor, content.get("hidden", []))),
                tuple(parsed(Refused, content.get("refused", []))),
                dict(content.get("options", {})),
                {key: tuple(map(str, names)) for key, names in content.get("layers", {}).items()},
                tuple(parsed(Hint, content.get("hints", []))),
                tuple(parsed(Statement, content.get("stated", []))),
                tuple(parsed(Inference, content.get("inferred", []))),
                tuple(parsed(Refused, content.get("unread", []))),
            )
        except (TypeError, KeyError, AttributeError, ValueError) as fault:
            raise ValueError(f"a model graph with a broken part ({fault})") from None
        graph._check()
        return graph

    def _check(self) -> None:
        """ValueError unless ids are unique and known, and edges make a forest."""
        ids = self.ids
        known = set(ids)
        if len(known) < len(ids):
            raise ValueError("a model graph with an id that stands twice")
        if any(node.parameters < 0 for node in self.nodes):
            raise ValueError("a model graph with a model of fewer than no weights")
        if any(node.parameters >= BEYOND for node in self.nodes):
            raise ValueError("a model graph with a model of more weights than there can be")
        for file in (file for node in self.nodes for file in node.files):
            told = re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64)
            if not 0 <= file.bytes < BEYOND or not told:
                raise ValueError(f"a model graph with an impossible size or hash of {file.name!r}")
        if any(not 0 <= (node.freed or 0) < BEYOND for node in self.nodes):
            raise ValueError("a model graph in which an impossible number of bytes can be freed")
        above = [(e.parent, e.child) for e in self.edges]
        above += [(h.id, child) for h in self.hidden for child in h.children]
        above += [(h.parent, h.id) for h in self.hidden if h.parent is not None]
        shared = {(e.parent, e.child) for e in self.edges if e.share is not None}
        many = Counter(child for _, child in above)
        if len(set(above)) < len(above) or any(many[p[1]] > 1 for p in set(above) - shared):
            raise ValueError("a model graph in which a node has two parents")
        named = {x for pair in above for x in pair}
        named |= {x for t in self.trees for x in (t.root, *t.members)}
        named |= {x for h in self.hints for x in (h.model, h.parent) if x is not None}
        named |= {x.model for x in self.stated} | {x.model for x in self.inferred}
        for recipe in (n.recipe for n in self.nodes if n.recipe):
            named |= {*recipe.parents, *(x for piece in recipe.pieces for x in piece.parents)}
            named |= set() if recipe.start is None else {recipe.start}
        named |= {n.identical_to for n in self.nodes if n.identical_to is not None}
        if not named <= known:
            raise ValueError(f"a model graph that names {min(named - known)!r} but doesn't hold it")
        if not {x for e in self.edges for x in (e.parent, e.child)} <= {n.id for n in self.nodes}:
            raise ValueError("a model graph with an edge to a hidden ancestor")
        _check_acyclic(ids, above)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ModelGraph:
        """Read graph.json. InputError names the file and the fault."""
        text = read_text(path, MAX_GRAPH)
        try:
            return cls.from_json(text)
        except ValueError as fault:
            raise InputError(path, str(fault)) from None


def _left_out(node: Node, several: bool) -> tuple[str, ...]:
    """What JSON does not have of a node."""
    of_copies = () if node.identical_to is not None else ("identical_to", "freed")
    of_part = () if node.read is not None else ("read",)
    return (*of_copies, *of_part, *(() if several else ("recipe",)))


def _left_out_of(edge: Edge, several: bool) -> tuple[str, ...]:
    """The same of an edge."""
    plainly = () if edge.relabelled is not None else ("relabelled",)
    unstaged = () if edge.generalization is not None else ("generalization", "stage_evidence")
    return (*plainly, *unstaged, *(() if several else ("share",)))


def _rank(edge: Edge) -> tuple[float, str]:
    """Main parents first. Shares that differ by less than they are known by count as equal."""
    return -round(edge.share or 0.0, 2), edge.parent


def _check_acyclic(ids: Sequence[str], above: Sequence[tuple[str, str]]) -> None:
    """ValueError where (parent, child) pairs make a circle."""
    below: dict[str, list[str]] = {}
    for parent, child in above:
        below.setdefault(parent, []).append(child)
    waiting = Counter(child for _, child in above)
    free = [id_ for id_ in ids if not waiting[id_]]
    for id_ in free:
        for child in below.get(id_, ()):
            waiting[child] -= 1
            if not waiting[child]:
                free.append(child)
    left = set(ids) - set(free)
    if left:  # each of them has a parent among them
        up = {child: parent for parent, child in above if parent in left}
        at, seen = min(left), set[str]()
        while at not in seen:
            seen.add(at)
            at = up[at]
        raise ValueError(f"a model graph with a circle through {at!r}")
