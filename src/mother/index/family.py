"""A family of an index as it is sent to whoever recovers it: all that is known of its models.

What is kept goes along, so that it is recovered where there is no index. What it wants and has not
comes back with its graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import mother
from mother.checkpoints import Checkpoint, Problem
from mother.errors import InputError, MotherError
from mother.executors import Lost, in_order
from mother.graph import ModelGraph, WeightFile
from mother.index.catalogue import Catalogue, Model
from mother.index.closer import Stored
from mother.measures.sketch_bytes import load
from mother.recovery import Options, recover_checkpoints
from mother.refinement import Refinement

TOGETHER = 1 << 24  # bytes of sketches of the families that one worker is given at once
AHEAD = 8  # such pieces out at workers at once


@dataclass(frozen=True)
class Family:
    """models: by id; sketches: their bytes. larger: of some, by number and level. tried: what was
    looked for, likewise. measured: what sets of models gave in full, by numbers, None for what could
    not be had. seed: of the sketches; options, read: as to `recover_checkpoints`, `Refinement`.
    version: of the mother that sends it."""

    models: tuple[Model, ...]
    sketches: tuple[bytes, ...]
    larger: Mapping[tuple[int, int], bytes]
    tries: frozenset[tuple[int, int]]
    looks: Mapping[tuple[int, ...], bytes | None]
    seed: int
    options: Options
    read: int
    version: str = mother.__version__

    @classmethod
    def of(
        cls, catalogue: Catalogue, models: Sequence[Model], options: Options, read: int
    ) -> Family:
        """Of an index."""
        numbers = [m.number for m in models]
        return cls(
            tuple(models),
            tuple(map(catalogue.content, numbers)),
            catalogue.all_larger(numbers),
            catalogue.all_tried(numbers),
            catalogue.all_measured(numbers),
            catalogue.seed,
            options,
            read,
        )
