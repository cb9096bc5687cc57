"""What a model graph is made of: nodes, edges, trees, and what is said beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightFile:
    """A file that a checkpoint's weights lie in. sha256: of the file, in hex, where asked for."""

    name: str
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True)
class Evidence:
    """One reason for an edge's direction. log_odds: what it adds to the log-odds that the parent is
    the parent; negative where it speaks against. says: the same for a reader."""

    kind: str
    log_odds: float
    says: str


@dataclass(frozen=True)
class Block:
    """A part of a merge that was made otherwise than the whole. name: of the layer, or of the block
    of layers. shares: what it took of each parent, in the recipe's order."""

    name: str
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Piece:
    """The weights of a merge that are those of its `start` plus multiples of the steps from there
    to some models, none where they are the start's own. share: of all weights."""

    parents: tuple[str, ...]
    multiples: tuple[float, ...]
    share: float


@dataclass(frozen=True)
class Recipe:
    """How a model was put together from others.

    method: "linear", "slerp", "task arithmetic", "by block", "by single weights", "by parts" (the
    experts of a mixture), "mixed" (of two, openly), "part of a step" (its largest weights or
    singular values) or "average".
    parents: their ids; shares: the coefficient of each over the whole model. blocks: where the
    coefficients vary. unexplained: what is left of the step from the nearest parent, as a share of
    its squared length, or "by single weights" of the weights; 0 where the recipe gives the model
    exactly. start, pieces: "by single weights", what steps are from, and which weights hold which:
    TIES (Yadav and others 2023) and DARE (Yu and others 2024) keep a part of each.
    """

    method: str
    parents: tuple[str, ...]
    shares: tuple[float, ...]
    unexplained: float
    blocks: tuple[Block, ...] = ()
    start: str | None = None
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Node:
    """One checkpoint. unaligned: its tensors that found no partner, each with the reason. recipe:
    how it was merged, None for a model of one parent or none. compared: which share of its weights
    was compared with others, or could be, if it is alone; what can't be read as numbers is among
    its weights. None in older graphs. identical_to: the model whose files its own are equal to byte
    for byte, None where there is none; freed: how many bytes of disk are free without it then.
    read: which share of its files' bytes was read, at most, where parts of large models were read
    first; None where all of every model was."""

    id: str
    path: str
    format: str
    architecture: str
    parameters: int
    dtype: str = ""
    duplicate_of: str | None = None
    unaligned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[WeightFile, ...] = ()
    recipe: Recipe | None = None
    compared: float | None = None
    identical_to: str | None = None
    freed: int | None = None
    read: float | None = None


@dataclass(frozen=True)
class Probabilities:
    """What is believed of two models that a tree joins: that it is right about who was made from
    whom, that it is the other way round, or that neither was made from the other: they are
    siblings, or another model lies between them. They add up to one."""

    parent: float
    reverse: float
    siblings: float


@dataclass(frozen=True)
class Relabelled:
    """A test of kinship that does not depend on how units are labelled. p: the probability that
    independent trainings agree so much, no less than can be told (1e-300); alike: share of units on
    which two estimates agree, of the middle axis of `axes`; undone: what hid the one from the
    other, and was undone; tried: pairs that were looked at, so p times that many is what counts."""

    p: float
    alike: float
    axes: int
    undone: tuple[str, ...] = ()
    tried: int = 1


@dataclass(frozen=True)
class Edge:
    """parent -> child. None where a method does not yield the figure.

    distance: |parent - child| over the layers that both have, as a share of the parent's norm, or
    the paper's weight distance (mother). polarity: <p-c, p> / |p-c|^2, 0 where the parent is wholly
    kept in the child. support: share of bootstrap replicates that hold the edge. evidence: what
    the direction rests on. runner_up: the next best parent, and runner_up_ratio how many times as
    far it is, detours included. changes: |parent - child| / |parent| in each of the architecture's
    `layers`. share: the parent's coefficient where the child was merged from several, else None.
    scheme: how a copy was quantized or scaled, "Q4_K_M"; empty otherwise. direction_probability:
    that the parent is the parent, if one of the two was made from the other; probabilities tells
    how likely that is. relabelled: the test that told them kin, where one is hidden from the other.
    stage: "generalization" or "specialization", None where neither is likely enough;
    generalization: the probability of the first; stage_evidence: why, as log-odds that add up.
    """

    parent: str
    child: str
    relation: str
    stage: str | None = None
    distance: float | None = None
    polarity: float | None = None
    direction_probability: float | None = None
    support: float | None = None
    rank: int | None = None
    undirected: bool = False
    evidence: tuple[Evidence, ...] = ()
    runner_up: str | None = None
    runner_up_ratio: float | None = None
    changes: tuple[float | None, ...] = ()
    share: float | None = None
    scheme: str = ""
    probabilities: Probabilities | None = None
    relabelled: Relabelled | None = None
    generalization: float | None = None
    stage_evidence: tuple[Evidence, ...] = ()

    def _repr_html_(self) -> str:
        return Edges([self], "")._repr_html_()


@dataclass(frozen=True)
class HiddenAncestor:
    """A common ancestor that is not among the inputs. parent: what it hangs from, if anything."""

    id: str
    children: tuple[str, ...]
    parent: str | None = None
    polarity: float | None = None


@dataclass(frozen=True)
class Tree:
    """One tree of the forest. root: the id of a node, or of a hidden ancestor if hidden_root. A
    merge is a member of its main parent's tree; its other parents may stand in others."""

    root: str
    members: tuple[str, ...]
    hidden_root: bool = False


@dataclass(frozen=True)
class Refused:
    """An input that could not be read, and why."""

    path: str
    fault: str


@dataclass(frozen=True)
class Hint:
    """What a file says of a model beside its weights. kind: "claim" of a parent, "step" of a run,
    which follows on another one as their names say, or "date" on which the weights were written.
    parent: the model that is meant, or with a date the recovered parent; None if there is none.
    agrees: with the recovered edges; None where that can't be told."""

    model: str
    kind: str
    source: str
    says: str
    parent: str | None = None
    agrees: bool | None = None


@dataclass(frozen=True)
class Statement:
    """What a table or a model's files state of it: texts, of a set several, or a number. source:
    where it stands."""

    model: str
    attribute: str
    texts: tuple[str, ...] = ()
    number: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Inference:
    """What nothing states of a model and its relatives let expect. probability: of the texts, or
    that the number lies from low to high. why: which relatives say so."""

    model: str
    attribute: str
    texts: tuple[str, ...] = ()
    number: float | None = None
    probability: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


class Edges(tuple[Edge, ...]):
    """Edges as a tuple, which a notebook shows as a table. method: that found them and gave their
    distances a unit, "" where it is not known."""

    method: str

    def __new__(cls, edges: Iterable[Edge], method: str) -> Edges:
        """The edges with what their distances are measured by."""
        made = super().__new__(cls, edges)
        made.method = method
        return made

    def __reduce__(self) -> tuple[type[Edges], tuple[tuple[Edge, ...], str]]:
        return Edges, (tuple(self), self.method)

    def _repr_html_(self) -> str:
        from mother.views.tables import of_edges  # a view of the graph; the graph needs none

        return of_edges(self, self.method)
