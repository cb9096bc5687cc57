"""Small families whose heritage is known, on disk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mother.index import Index
from mother.index import index as index_module

SHAPES = {f"block.{k}.fc{j}.weight": (48, 32) for k in range(3) for j in range(2)}


def write(path: Path, weights: dict[str, np.ndarray]) -> Path:
    save_file({n: w.astype(np.float32) for n, w in weights.items()}, path)
    return path


def grown(
    folder: Path, name: str, count: int, seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES
) -> dict[str, str | None]:
    """A family of `count` models in `folder`, each but the first trained from an earlier one; the
    parent of each."""
    rng, lots = np.random.default_rng(seed), random.Random(seed)
    held = [{n: rng.normal(size=s) for n, s in shapes.items()}]
    parents: dict[str, str | None] = {f"{name}0": None}
    write(folder / f"{name}0.safetensors", held[0])
    for k in range(1, count):
        up = lots.randrange(k)
        scale = 0.05 * lots.uniform(0.7, 1.4)
        held.append({n: w + scale * rng.normal(size=w.shape) for n, w in held[up].items()})
        write(folder / f"{name}{k}.safetensors", held[k])
        parents[f"{name}{k}"] = f"{name}{up}"
    return parents


def collection(folder: Path) -> dict[str, str | None]:
    """Two families of one architecture, one of another, and a stranger to all."""
    other = {"encoder.weight": (40, 40), "decoder.weight": (40, 40)}
    return (
        grown(folder, "a", 7, 1)
        | grown(folder, "b", 5, 2)
        | grown(folder, "c", 4, 3, other)
        | grown(folder, "s", 1, 4)
    )


class Killed(BaseException):
    """No error that anyone mends."""


def killed_at(step: str, index: Index, folder: Path) -> None:
    """Add a folder and be stopped where more of its models is to be read."""

    def stop(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(index_module.Reader, step, stop)
        with pytest.raises(Killed):
            index.add([folder])


def at_once(tmp_path: Path, paths: list[Path], **settings: int) -> str:
    """The graph of an index that was given all at once."""
    with Index.create(tmp_path / "all", **settings) as index:
        index.add(paths)
        return index.graph().to_json()


def order_does_not_matter(
    wanted: str, tmp_path: Path, paths: list[Path], seeds: int, most: int, **settings: int
) -> None:
    """An index that grew in any order holds what one holds that was given all at once."""
    for seed in range(seeds):
        with Index.create(tmp_path / f"grown{seed}", **settings) as index:
            for _ in comings_and_goings(index, paths, random.Random(seed), most, 0.5):
                assert index.verify() == []
            assert index.graph().to_json() == wanted


def comings_and_goings(
    index: Index, paths: list[Path], lots: random.Random, most: int, taken_out: float
) -> Iterator[None]:
    """All of them added in any order, up to `most` at once, with some taken out and put back;
    yields after each step."""
    folder = {path.stem: path for path in paths}
    waiting = lots.sample(paths, len(paths))
    while waiting:
        many = lots.randint(1, most)
        index.add(waiting[:many])
        del waiting[:many]
        if lots.random() < taken_out:
            out = lots.choice(index.models())
            index.remove([out.id])
            waiting.append(folder[out.id])
        yield
