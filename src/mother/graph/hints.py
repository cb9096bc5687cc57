"""What files say of a graph's models beside their weights: claims of parents, steps in their names,
and dates.

Anyone can write a claim and name a file, and copying it changes its date. So hints are taken only
when asked for, are kept apart from the evidence, and change no edge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from mother.checkpoints import Checkpoint
from mother.checkpoints.claimed_names import Names
from mother.checkpoints.claims import Claim, Claims, read_all_claims, repository
from mother.checkpoints.stores.runs import step_of
from mother.checkpoints.tensor import clean
from mother.graph import Edge, Hint, ModelGraph
from mother.graph.assembly import UNSURE
from mother.graph.descent import Descent
from mother.hub import shown
from mother.layouts import align


def hints_on(graph: ModelGraph, checkpoints: Sequence[Checkpoint]) -> tuple[Hint, ...]:
    """The hints on a graph's models, in their order. checkpoints: what it was recovered from, all
    that were opened."""
    ids = {node.id for node in graph.nodes}
    models = {c.id: c for c in checkpoints if c.id in ids and c.files}
    paths = {id_: c.path for id_, c in models.items()}
    claims = read_all_claims(paths, [c.path for c in checkpoints if c.files])
    groups = {c.id: k for k, g in enumerate(align(list(models.values()))) for c in g.checkpoints}
    found, main = _Claimed(graph, Names(paths), groups), graph.main_edges()
    before = _steps_before(paths)
    out: list[Hint] = []
    for node in (node for node in graph.nodes if node.id in models):
        out += found.hints(node.id, claims[node.id])
        out += found.step(node.id, before.get(node.id))
        out += _date(main.get(node.id), models, node.id)
    return tuple(out)


@dataclass(frozen=True)
class _Before:
    """The model of the step before in the same run. says: both numbers; source: whose name that
    is."""

    model: str
    says: str
    source: str


def _steps_before(paths: Mapping[str, Path]) -> dict[str, _Before]:
    """Of each checkpoint of a run but its first, which one the steps' numbers put before it."""
    runs: dict[tuple[Path, str], list[tuple[int, str]]] = {}
    for id_, path in paths.items():
        step = step_of(path.absolute())
        if step is not None:
            runs.setdefault((step.run, step.unit), []).append((step.number, id_))
    found: dict[str, _Before] = {}
    for (_, unit), steps in runs.items():
        for (earlier, before), (later, id_) in pairwise(sorted(steps)):
            if earlier < later:
                says = f"{unit} {later}, after {unit} {earlier}"
                found[id_] = _Before(before, says, clean(shown(paths[id_])))
    return found


class _Claimed:
    """Claims against a graph. groups: by id, a number that models share which can be compared."""

    def __init__(self, graph: ModelGraph, names: Names, groups: dict[str, int]) -> None:
        self.names = names
        self.groups = groups
        self.descent = Descent(graph, 0.5 + UNSURE, {})
        self.tree = {m: k for k, tree in enumerate(graph.trees) for m in tree.members}

    def hints(self, id: str, claims: Claims) -> Iterator[Hint]:
        """One for every claim of model `id`, the same from several files each."""
        distinct: dict[tuple[Path, str], Claim] = {}
        for claim in claims.parents:
            distinct.setdefault((claim.file, repository(claim.value)), claim)
        several = max(Counter(file for file, _ in distinct).values(), default=0) > 1
        for claim in distinct.values():
            meant = self.names.means(id, claim)
            if meant is not None:
                yield self._hint(id, claim, meant[0], several)

    def step(self, id: str, before: _Before | None) -> Iterator[Hint]:
        """That a model follows on another one, as the steps in their names say."""
        if before is not None:
            agrees = self._agrees(id, before.model, several=False)
            yield Hint(id, "step", before.source, before.says, before.model, agrees)

    def _hint(self, id: str, claim: Claim, meant: tuple[str, ...], several: bool) -> Hint:
        one = bool(meant) and set(meant) <= set(self.descent.copies(meant[0]))
        parent = meant[0] if one else None
        agrees = self._agrees(id, parent, several) if parent is not None else None
        says = clean(f"{claim.key}: {claim.value}")
        return Hint(id, "claim", clean(shown(claim.file)), says, parent, agrees)

    def _agrees(self, id: str, other: str, several: bool) -> bool | None:
        """Whether the edges show that model `id` comes from the other; None where they don't tell,
        as of models that can't be compared, and of several parents where no merge was found."""
        if other in self.descent.copies(id) or other in self.descent.ancestors(id):
            return True
        if other in self.descent.ancestors(id, possible=True):
            return None
        if id in self.descent.ancestors(other):
            return False
        if self.groups[id] != self.groups[other]:
            return None
        return None if several and self.tree.get(id) == self.tree.get(other) else False


def _date(edge: Edge | None, models: dict[str, Checkpoint], id: str) -> Iterator[Hint]:
    """When a model's weights were last written, against its parent's."""
    own = _written(models[id])
    if own is None:
        return
    when, source = own
    above = _written(models[edge.parent]) if edge is not None else None
    agrees = None
    if edge is not None and not edge.undirected and above is not None and above[0] != when:
        agrees = above[0] < when
    # two of one second are told apart by what follows it
    close = above is not None and above[0] != when and above[0] // 10**9 == when // 10**9
    fraction = f".{when % 10**9:09}" if close else ""
    try:
        says = f"{datetime.fromtimestamp(when // 10**9, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
    except (OverflowError, ValueError, OSError):
        says = f"{when // 10**9} s after 1970"
    yield Hint(id, "date", source, says, edge.parent if edge is not None else None, agrees)


def _written(checkpoint: Checkpoint) -> tuple[int, str] | None:
    """Of the weight file written last, when (ns) and which it is."""
    found = []
    for file in checkpoint.files:
        if shown(file.path) != str(file.path):
            continue  # what lies on the Hub is dated when it was fetched
        try:
            found.append((file.path.stat().st_mtime_ns, clean(str(file.path))))
        except OSError:
            continue
    return max(found, default=None)
