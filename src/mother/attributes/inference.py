"""From what is stated of some models of a graph to what the others probably hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from mother.attributes.columns import KINDS, Column, column
from mother.attributes.files import from_files
from mother.attributes.guesses import INTERVAL, Guesses, guessed
from mother.attributes.pedigree import Array, Indices, pedigree
from mother.attributes.reasons import NOBODY, Kin, sentences
from mother.attributes.result import Attribute, Cell, Inferred
from mother.attributes.table import Stated, Value, stated
from mother.errors import UsageError
from mother.graph import Inference, ModelGraph, Statement
from mother.names import printable

LIKELY = 0.5  # a value less probable is not known
THREADS = 2  # attributes are estimated at once, each of which takes memory
TOLD = 3  # elements of a set whose reasons are told
UNSURE = "relatives do not agree enough"


def infer(
    graph: ModelGraph,
    table: Any = None,
    *,
    attributes: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    files: bool = False,
) -> Inferred:
    """Estimate what models hold of which nothing is said, from what is said of their relatives.

    Args:
        graph: a recovered graph.
        table: what is stated: the path of a CSV file, a pandas.DataFrame or a mapping
            {id: {attribute: value}}; see `mother.attributes.table.stated`.
        attributes: only these.
        kinds: by attribute, what it is, where its values do not look like it: "category", "set",
            "number" or "text".
        files: read what the models' files state, too; the table goes before them.

    Raises:
        InputError: what should be a table is none.
        UsageError: an attribute or a kind that there is not, or a number that is none.

    >>> from mother.graph import Edge, Node
    >>> ids = ["base", *(f"tuned-{k}" for k in range(9))]
    >>> nodes = tuple(Node(x, x, "npz", "a", 1) for x in ids)
    >>> edges = tuple(Edge("base", x, "fine-tune") for x in ids[1:])
    >>> found = infer(ModelGraph("", nodes, edges), {x: {"license": "mit"} for x in ids[:5]})
    >>> [a.says for a in found.attributes]
    ['only mit is stated, nothing else to tell it from']
    """
    if table is None and not files:
        raise UsageError("nothing to infer from: neither a table nor the models' files")
    given = stated(graph, table) if table is not None else from_files(graph)
    if table is not None and files:
        given = given.over(from_files(graph))
    chosen = list(given.values) if attributes is None else list(dict.fromkeys(attributes))
    kinds = kinds or {}
    for name in (*chosen, *kinds):
        if name not in given.values:
            raise UsageError(f"nothing states an attribute {name!r}; there are: {_list(given)}")
    for kind in kinds.values():
        if kind not in KINDS:
            raise UsageError(f"{kind!r} is no kind of attribute; {', '.join(KINDS)} are")
    whole = pedigree(graph)
    kin = Kin(whole)
    ids = [node.id for node in graph.nodes]
    heads, columns = [], []
    every = [column(name, given.values[name], kinds.get(name)) for name in chosen]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda values: guessed(whole, values), every)
        pairs = list(zip(every, found, strict=True))
    for values, guesses in pairs:
        name = values.name
        heads.append(Attribute(name, values.kind, len(values.told), *_told(values, guesses)))
        columns.append(_Cells(ids, given, values, guesses, kin))
    return Inferred(tuple(heads), columns, tuple(given.strangers), tuple(given.faults))


def annotated(graph: ModelGraph, found: Inferred) -> ModelGraph:
    """The graph with what is stated and what is inferred, in place of what it held of either."""
    cells: dict[str, list[Cell]] = {"stated": [], "inferred": [], "not known": []}
    for cell in found:
        cells[cell.status].append(cell)
    return replace(
        graph,
        stated=tuple(
            Statement(c.model, c.attribute, *_parts(c.value), c.why) for c in cells["stated"]
        ),
        inferred=tuple(
            Inference(c.model, c.attribute, *_parts(c.value), c.probability, c.low, c.high, c.why)
            for c in cells["inferred"]
        ),
    )


def _parts(value: Value | None) -> tuple[tuple[str, ...], float | None]:
    """A value as texts, and as a number."""
    if isinstance(value, float):
        return (), value
    return (value,) if isinstance(value, str) else value or (), None


def _list(given: Stated) -> str:
    return ", ".join(list(given.values)[:20]) or "none"


def _told(values: Column, guesses: Guesses | None) -> tuple[float | None, str]:
    if not len(values.told):
        return None, "nothing is stated"
    if values.kind == "text":
        return None, "text that nearly never says the same twice: nothing to infer"
    if guesses is None:
        only = printable(values.names[0]) if values.names else _number(values)
        return None, f"only {only} is stated, nothing else to tell it from"
    if not guesses.follows:
        return guesses.bits, "relatives do not tell it by more than chance"
    return guesses.bits, f"relatives narrow it down by {guesses.bits:.2f} bits a model"


def _number(values: Column) -> str:
    assert values.numbers is not None
    return f"{values.numbers[values.told[0]]:g}"


class _Cells:
    """One attribute's cells, put together when they are read."""

    def __init__(
        self, ids: list[str], given: Stated, values: Column, guesses: Guesses | None, kin: Kin
    ) -> None:
        self.ids, self.given, self.values, self.guesses, self.kin = ids, given, values, guesses, kin

    def __iter__(self) -> Iterator[Cell]:
        name, guesses = self.values.name, self.guesses
        stated = self.given.values[name]
        open_ = np.array([v is None for v in stated], dtype=bool)
        likely = np.zeros(len(open_), dtype=bool)
        if guesses is not None and guesses.follows:
            likely = open_ & guesses.heard & (_chance(guesses) >= LIKELY)
        inferred = iter(self._inferred(np.flatnonzero(likely)))
        nothing = self._nothing()
        for place, (id_, value) in enumerate(zip(self.ids, stated, strict=True)):
            if value is not None:
                yield Cell(id_, name, "stated", value, why=self.given.source(name, place))
            elif likely[place]:
                yield Cell(id_, name, "inferred", *next(inferred))
            else:
                heard = guesses is not None and guesses.follows and guesses.heard[place]
                yield Cell(id_, name, "not known", why=UNSURE if heard else nothing)

    def _nothing(self) -> str:
        _, says = _told(self.values, self.guesses)
        return NOBODY if self.guesses is not None and self.guesses.follows else says

    def _inferred(self, at: Indices) -> Iterator[tuple[Any, ...]]:
        """Value, probability, ends of the interval and reason, of some models."""
        values, guesses, kin = self.values, self.guesses, self.kin
        nobody = [None] * len(at)
        if guesses is None or not len(at):
            return iter(())
        if guesses.best is not None and guesses.chance is not None:
            assert values.codes is not None
            best = guesses.best[at]
            why = sentences(kin.votes(values.codes, best, at), best, values.names)
            said = [values.names[k] for k in best.tolist()]
            return zip(said, guesses.chance[at].tolist(), nobody, nobody, why, strict=True)
        if guesses.held is not None:
            chance = _chance(guesses)[at].tolist()
            return zip(*self._sets(at), chance, nobody, nobody, self._elements(at), strict=True)
        assert values.numbers is not None
        assert guesses.ends is not None
        middle, low, high = guesses.ends[:, at].tolist()
        why = kin.ranges(values.numbers, at)
        return zip(middle, [INTERVAL] * len(at), low, high, why, strict=True)

    def _sets(self, at: Indices) -> tuple[list[tuple[str, ...]]]:
        assert self.guesses is not None
        assert self.guesses.held is not None
        names = self.values.names
        held = (self.guesses.held[at] >= 0.5).tolist()
        return ([tuple(sorted(n for n, x in zip(names, h, strict=True) if x)) for h in held],)

    def _elements(self, at: Indices) -> list[str]:
        """For each model the reasons of the elements that it probably holds."""
        assert self.guesses is not None
        assert self.guesses.held is not None
        assert self.values.held is not None
        said: list[list[str]] = [[] for _ in at]
        for k, name in enumerate(self.values.names):
            here = np.flatnonzero(self.guesses.held[at, k] >= 0.5)
            one = np.ones(len(here), dtype=np.intp)
            codes = self.values.held[:, k].astype(np.intp)
            votes = self.kin.votes(codes, one, at[here])
            for place, why in zip(here, sentences(votes, one, ("", name)), strict=True):
                if len(said[place]) < TOLD:
                    said[place].append(why)
        return ["; ".join(some) or "relatives say nothing of the kind" for some in said]


def _chance(guesses: Guesses) -> Array:
    """(models,) the probability of the value; of a set, that all it holds is there."""
    if guesses.chance is not None:
        return guesses.chance
    if guesses.held is not None:
        there = guesses.held >= 0.5
        all_ = np.where(there, guesses.held, 1).prod(1)
        return np.asarray(np.where(there.any(1), all_, (1 - guesses.held).prod(1)))
    return np.full(len(guesses.heard), INTERVAL)
