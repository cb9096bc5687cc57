"""The licences that bind a model: its own, and those of its ancestors that set terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mother.gate.licences import restricts, terms
from mother.graph.descent import Descent


@dataclass(frozen=True)
class Binding:
    """A licence that binds a model. model: who states it, the model itself or an ancestor. sure:
    False where that is an ancestor only if an edge of unknown direction points so."""

    licence: str
    model: str
    sure: bool = True


def binding(
    id: str,
    stated: Mapping[str, tuple[str, ...]],
    descent: Descent,
    table: Mapping[str, tuple[str, ...]],
) -> Iterator[Binding]:
    """The licences that bind model `id`, its own first, then those of the nearest ancestors.

    stated: by id. table: what descendants of each licence may carry; one that leaves them free, as
    permissive ones do, binds nobody but its own model, one that the table does not know may.

    >>> from mother.gate.licences import DEFAULT
    >>> from mother.graph import Edge, ModelGraph
    >>> edge = Edge("base", "kid", "fine-tune", direction_probability=0.99)
    >>> descent = Descent(ModelGraph("gram", edges=(edge,)), 0.9, {})
    >>> stated = {"base": ("cc-by-nc-4.0",), "kid": ("mit",)}
    >>> [(b.licence, b.model) for b in binding("kid", stated, descent, DEFAULT)]
    [('mit', 'kid'), ('cc-by-nc-4.0', 'base')]
    """
    told = set()
    for licence in stated.get(id, ()):
        told.add(licence)
        yield Binding(licence, id)
    sure = descent.ancestors(id)
    possible = descent.ancestors(id, possible=True)
    for other in (*sure, *(x for x in possible if x not in sure)):
        for licence in stated.get(other, ()):
            sets_terms = terms(licence, table) is None or restricts([licence], table)
            if sets_terms and licence not in told:
                told.add(licence)
                yield Binding(licence, other, other in sure)


def in_words(bindings: tuple[Binding, ...], id: str) -> str:
    """What binds a model, in one line.

    >>> in_words((Binding("mit", "kid"), Binding("gpl-3.0", "base", False)), "kid")
    'mit; gpl-3.0 of base, if it comes from there'
    """
    said = []
    for one in bindings:
        of = "" if one.model == id else f" of {one.model}"
        said.append(f"{one.licence}{of}{'' if one.sure else ', if it comes from there'}")
    return "; ".join(said)
