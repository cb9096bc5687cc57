"""A checkpoint as an index takes it in: its sketch, and what is known of it beside."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import clean
from mother.errors import InputError
from mother.graph import WeightFile
from mother.hub import is_address, is_fixed
from mother.index.glance import CORNERS, Glance
from mother.measures.comparable import no_weights, ordinary
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.contents import contents
from mother.sketches.labels import labels
from mother.sketches.signature import signature
from mother.sketches.sketch import sketch
from mother.sketches.sketch_bytes import dump, labels_in, load
from mother.sketches.windows import SAMPLED_MATRICES


@dataclass(frozen=True)
class Newcomer:
    """path: in full. stamp: tells whether the files have changed since. sketch: with `content`, the
    bytes that it is stored as. labels: what relabelling leaves of it, if that is known. contents:
    hashes of its layers. facts: JSON of what else its node in the graph says."""

    id: str
    path: str
    stamp: str
    architecture: str
    sketch: Checkpoint
    content: bytes
    signature: NDArray[np.float32]
    labels: bytes
    contents: frozenset[int]
    facts: str

    @cached_property
    def glance(self) -> Glance:
        """The first look at it, which tells most models from its relatives."""
        return Glance.at(self.sketch, CORNERS)


def contents_of(sketch: Checkpoint) -> frozenset[int]:
    """Hashes of the layers of a sketch, whatever these are called."""
    return frozenset(contents(sketch).values())


def reduced(
    checkpoint: Checkpoint, budget: int, *, seed: int = 0, matrices: int = SAMPLED_MATRICES
) -> bytes:
    """The sketch of a checkpoint; arguments as those of `sketch`. InputError where it can't be
    compared: it has no weights, or some that are not finite."""
    if fault := no_weights(checkpoint):
        raise InputError(checkpoint.shown, fault)
    small = sketch(checkpoint, budget, seed=seed, matrices=matrices)
    if not ordinary(small):
        for refused in recover_checkpoints([small], Options(bootstrap=0, threads=1)).refused:
            raise InputError(refused.path, refused.fault)
    # rows far apart in a tensor would each be a request
    told = b"" if is_address(checkpoint.shown) else labels(checkpoint).tobytes()
    return dump(small, seed, told)


def newcomer(
    checkpoint: Checkpoint, content: bytes, seed: int = 0, like: Checkpoint | None = None
) -> Newcomer:
    """A checkpoint with its sketch, which may come from elsewhere. like: the one in whose layout it
    is seen, where that is not its own. InputError where the sketch is none."""
    small = load(content, checkpoint.path, id=checkpoint.id, seed=seed)
    files = [WeightFile(name, file.size) for name, file in checkpoint.named_files.items()]
    return Newcomer(
        checkpoint.id,
        address(checkpoint),
        stamp(checkpoint),
        architecture(small),
        small,
        content,
        signature(small),
        labels_in(content),
        contents_of(small),
        json.dumps(
            {
                "files": [asdict(f) for f in files],
                "notes": list(checkpoint.notes),
                "base": base_of(checkpoint),
                "like": None if like is None else whereabouts(like),
            }
        ),
    )


def address(checkpoint: Checkpoint) -> str:
    """Where it lies, from wherever one looks. InputError where that is no text."""
    where = whereabouts(checkpoint)
    if clean(where) != where:
        raise InputError(clean(where), "its path is not UTF-8, so it can't be kept; rename it")
    return where


def whereabouts(checkpoint: Checkpoint) -> str:
    """What opens it again: its path in full, or its address on the Hub with the commit."""
    shown = checkpoint.shown
    return shown if is_address(shown) else os.path.abspath(checkpoint.path)  # noqa: PTH100


def base_of(checkpoint: Checkpoint) -> str | None:
    """Whereabouts of what it is merged into, if it is."""
    return None if checkpoint.base is None else whereabouts(checkpoint.base)


def base_in(facts: str) -> str | None:
    """The same from what is kept of a model. ValueError, TypeError, KeyError where that is none."""
    return _place(json.loads(facts)["base"])


def like_in(facts: str) -> str | None:
    """Whereabouts of the model in whose layout one is seen, if it is; from what is kept of it.
    Raises as `base_in`."""
    return _place(json.loads(facts).get("like"))  # versions before wrote none


def _place(told: object) -> str | None:
    if not isinstance(told, str | None):
        raise TypeError(told)
    return told


def stamp(checkpoint: Checkpoint) -> str:
    """Names, sizes and times of its files; on the Hub the commit stands for the times. The files of
    what it is merged into follow by their paths in full, which start with a slash."""
    return json.dumps(_stamps(checkpoint))


def is_as_it_was(checkpoint: Checkpoint, known: str) -> bool:
    """Whether its files are those of a stamp, and those of its base, if it is merged into one."""
    was, now = json.loads(known), _stamps(checkpoint)
    if checkpoint.base is None:
        was = [row for row in was if not row[0].startswith("/")]
    return bool(was == now)


def _stamps(checkpoint: Checkpoint) -> list[list[str | int]]:
    times = not is_fixed(checkpoint.shown)
    rows: list[list[str | int]] = [
        [name, *(file.stamp if times else (file.size,))]
        for name, file in checkpoint.named_files.items()
    ]
    if (base := checkpoint.base) is not None:
        rows += [[f"/{address(base)}/{name}", *row] for name, *row in _stamps(base)]
    return rows


def architecture(checkpoint: Checkpoint) -> str:
    """A key over the names and shapes of its weights."""
    rows = sorted((n, t.shape) for n, t in checkpoint.tensors.items() if t.is_weight and t.size)
    return hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def seal(content: bytes, signature: bytes, *words: str) -> bytes:
    """SHA-256 over all that is stored of a model for good."""
    parts = [content, signature, *(word.encode() for word in words)]
    return digest(b"".join(digest(part) for part in parts))


def digest(content: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(content).digest()
