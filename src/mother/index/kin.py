"""Whether two sure families are one, where sketches leave it in doubt: as the nearest two say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.index.catalogue import Model
from mother.index.closer import Read, Stored
from mother.index.relatives import kinships_between
from mother.methods.refinement import Refinement

NEAREST = 64  # members of a family among which the nearest to another family is looked for


class Held(Protocol):
    """An index, as it is or would be. By number: members of a sure family, by id, and sketch and
    signature of a model."""

    def members(self, sure: int, /) -> list[Model]: ...

    def sketch(self, number: int, /) -> Checkpoint: ...

    def signature(self, number: int, /) -> NDArray[np.float32]: ...


def nearest(held: Held, one: int, other: int) -> dict[str, Model]:
    """The two of two sure families with the most kinship by first sketches, of equal ones the first
    by id: in the order of their ids, by number."""
    some, others = sorted((held.members(sure) for sure in (one, other)), key=lambda x: x[0].id)
    some, others = _facing(held, some, others), _facing(held, others, some)
    sketches = ([held.sketch(m.number) for m in models] for models in (some, others))
    kin = kinships_between(*sketches)
    k, at = divmod(int(kin.argmax()), len(others))
    # not of their numbers: rounding shall not depend on who came first
    pair = sorted((some[k], others[at]), key=lambda model: model.id)
    return {str(model.number): model for model in pair}


def _facing(held: Held, some: list[Model], others: list[Model]) -> list[Model]:
    """The NEAREST to the middle of others, by signature."""
    if len(some) <= NEAREST:
        return some
    middle = np.mean([held.signature(m.number) for m in others], axis=0)
    far = [np.square(held.signature(m.number) - middle).sum() for m in some]
    return [some[k] for k in np.sort(np.argsort(far, kind="stable")[:NEAREST])]


def related(held: Held, pair: Mapping[str, Model], larger: Stored | Read, read: int) -> bool:
    """Whether two models, by their numbers, are relatives. larger: their larger sketches; read: as
    of `Refinement`."""
    one, other = (replace(held.sketch(m.number), id=number) for number, m in pair.items())
    return Refinement(larger, larger.whole, read).related(one, other)
