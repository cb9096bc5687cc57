"""What goes in and out, for the OpenAPI document and for checking requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mother.graph import Edge
from mother.graph.comparison import Comparison
from mother.graph.placement import Placement

__all__ = [
    "Compared",
    "Details",
    "Edge",
    "Entries",
    "Entry",
    "Matches",
    "Pair",
    "Placed",
    "ReasonedEdge",
    "Summary",
    "Where",
]


@dataclass(frozen=True)
class Compared(Comparison):
    """What two models are to each other. said: the same in lines, as `mother compare` prints it."""

    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed(Placement):
    """Where a checkpoint would hang; found is "there" for a model of the graph. said: the same in
    lines, with how sure it is."""

    said: tuple[str, ...] = ()


Text = Annotated[str, Field(min_length=1, max_length=4096)]


class Pair(BaseModel):
    """Two models of the graph."""

    model_config = ConfigDict(extra="forbid")
    a: Text = Field(description="id of a model")
    b: Text = Field(description="id of another")


class Where(BaseModel):
    """A checkpoint on the server's disk or on the Hub."""

    model_config = ConfigDict(extra="forbid")
    path: Text = Field(
        description="file or folder inside one of the folders allowed at the start, or an address"
        " on the Hub, hf://owner/name"
    )


class Summary(BaseModel):
    """The graph as a whole."""

    title: str
    method: str
    models: int
    hidden: int = Field(description="hidden ancestors")
    trees: int
    refused: list[dict[str, str]] = Field(description="inputs that could not be read, and why")
    palette: dict[str, Any]
    inferred: bool = Field(False, description="whether attributes are inferred of any model")
    claims: bool = Field(False, description="whether it is known what files claim")
    attributes: list[dict[str, Any]] = Field(description="what models can be coloured by")
    called: dict[str, str] = Field(description="architectures, by a model of each")
    tool: str = Field(description="the version of mother that shows it")
    whole: bool = Field(description="whether /api/entries gives all models")
    version: int | None = Field(description="of an index: another one when it has changed")
    looks: dict[str, Any] | None = Field(
        None, description="of an index: how sure its edges are, and which models need a look"
    )
    weights: bool = Field(description="whether any folder was allowed, so that weights can be read")


class Entry(BaseModel):
    """A model or a hidden ancestor at its place in the forest."""

    key: int = Field(description="place in preorder")
    parent: int | None = Field(description="key of the parent")
    id: str
    name: str = Field(description="as people are told it")
    needs: list[str] = Field(description="why somebody has to look at it")
    hidden: bool
    children: int = Field(description="how many hang right below")
    below: int = Field(description="how many at any depth")
    edge: dict[str, Any] | None = Field(description="figures of the edge from the parent")
    values: dict[str, Any] = Field(description="what it can be coloured by")


class Entries(BaseModel):
    """A part of a longer list."""

    total: int
    entries: list[Entry]


class Match(BaseModel):
    """One model that a search found."""

    key: int
    name: str


class Matches(BaseModel):
    """What a search found, in the order of the forest; `total` counts what the limit left out."""

    total: int
    matches: list[Match]


class Details(BaseModel):
    """Everything known of one model."""

    entry: Entry
    path: list[Entry] = Field(description="from the root down to it")
    node: dict[str, Any] | None
    edge: dict[str, Any] | None
    hidden: dict[str, Any] | None
    told: list[str] = Field(description="how sure it is, in one sentence what was found, figures")
    changes: dict[str, Any] | None = Field(description="change by layer: a grid and its values")
    stated: dict[str, Any] | None = Field(None, description="by attribute, value and source")
    inferred: dict[str, Any] | None = Field(None, description="by attribute, value and why")


class Change(BaseModel):
    """By how much a layer changed, as a share of the parent's norm."""

    layer: str
    change: float | None


class ReasonedEdge(BaseModel):
    """An edge as in graph.json, with its evidence."""

    parent: str
    child: str
    relation: str
    stage: str | None
    distance: float | None
    polarity: float | None
    direction_probability: float | None
    support: float | None
    rank: int | None
    undirected: bool
    evidence: list[dict[str, Any]]
    runner_up: str | None
    runner_up_ratio: float | None
    changes: list[Change]
    probabilities: dict[str, float] | None
    relabelled: dict[str, Any] | None
    generalization: float | None = None
    stage_evidence: list[dict[str, Any]] = []
    share: float | None
    scheme: str
