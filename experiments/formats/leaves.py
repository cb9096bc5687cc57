"""docs/formats.md: what is said of a copy in each format, beside its family.

    python -m experiments.formats.leaves [docs/formats.md]

A format is one entry in WRITERS: who writes it, and a function that writes a model's weights into
a folder and returns the path. Those whose library is not installed are listed as not run.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ml_dtypes
import numpy as np
import torch
from safetensors.torch import save_file

import mother
from experiments.formats.family import EDGES, Family, family

Weights = Mapping[str, np.ndarray]
CELL = 32


@dataclass(frozen=True)
class Writer:
    """One format. library: the package that writes it, "" where these are a few lines here.
    relations: what may be said of the copy. scheme: what its edge must say, where it is known."""

    name: str
    write: Callable[[Weights, Path], Path]
    library: str = ""
    relations: tuple[str, ...] = ("quantized",)
    scheme: str = ""


def as_floats(how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Weights, Path], Path]:
    """Matrices rounded and decoded again, stored as float16 in safetensors."""

    def write(weights: Weights, folder: Path) -> Path:
        decoded = {n: how(w) if w.ndim == 2 else w for n, w in weights.items()}
        half = {n: torch.from_numpy(np.ascontiguousarray(w)).half() for n, w in decoded.items()}
        save_file(half, folder / "copy.safetensors")
        return folder / "copy.safetensors"

    return write


def stored(dtype: torch.dtype) -> Callable[[Weights, Path], Path]:
    def write(weights: Weights, folder: Path) -> Path:
        path = folder / "copy.safetensors"
        save_file({n: torch.from_numpy(w.copy()).to(dtype) for n, w in weights.items()}, path)
        return path

    return write


def groups(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Affine codes of CELL weights in a row."""

    def rounded(w: np.ndarray) -> np.ndarray:
        g = w.reshape(-1, CELL)
        low, high = g.min(axis=1, keepdims=True), g.max(axis=1, keepdims=True)
        step = (high - low) / (2**bits - 1)
        return (low + step * np.rint((g - low) / step)).reshape(w.shape)

    return rounded


def eight(w: np.ndarray) -> np.ndarray:
    step = np.abs(w).max(axis=1, keepdims=True) / 127
    return np.rint(w / step) * step


def fp8(w: np.ndarray) -> np.ndarray:
    scale = np.abs(w).max() / 448
    return (w / scale).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale


def gguf_of(kind: str) -> Callable[[Weights, Path], Path]:
    def write(weights: Weights, folder: Path) -> Path:
        import gguf

        path = folder / "copy.gguf"
        to = getattr(gguf.GGMLQuantizationType, kind)
        writer = gguf.GGUFWriter(path, "toy")
        for name, w in weights.items():
            own = to if w.ndim == 2 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(name, gguf.quants.quantize(w, own), raw_dtype=own)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


WRITERS = [
    Writer("safetensors, float16", stored(torch.float16), "safetensors", ("converted",)),
    Writer("safetensors, bfloat16", stored(torch.bfloat16), "safetensors", ("converted",)),
    *(Writer(f"decoded {n} bit groups of {CELL}", as_floats(groups(n))) for n in (3, 4, 5)),
    Writer("decoded 8 bit rows", as_floats(eight)),
    Writer("decoded FP8 with a scale", as_floats(fp8)),
    *(Writer(f"GGUF {k}", gguf_of(k), "gguf", ("converted", "duplicate")) for k in ("F16", "BF16")),
    *(
        Writer(f"GGUF {k}", gguf_of(k), "gguf", scheme=k)
        for k in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
    ),
]


@dataclass(frozen=True)
class Verdict:
    """What was said of one copy: its parent, its relation and scheme, and whether any other edge,
    hidden ancestor or model was another one beside it."""

    parent: str
    relation: str
    scheme: str
    moved: bool


def saved(models: Family, folder: Path) -> None:
    for name, weights in models.items():
        save_file({n: w.contiguous() for n, w in weights.items()}, folder / f"{name}.safetensors")


def judged(writer: Writer, models: Family) -> Verdict:
    """The copy of the parent in that format, beside all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved(models, folder)
        alone = mother.recover(folder)
        weights = {n: w.numpy() for n, w in models["parent"].items()}
        path = writer.write(weights, folder)
        graph = mother.recover(folder)
    copy = path.name.removesuffix(path.suffix)
    own = [e for e in graph.edges if e.child == copy]
    moved = (
        [e for e in graph.edges if e not in own] != list(alone.edges)
        or graph.hidden != alone.hidden
        or [n for n in graph.nodes if n.id != copy] != list(alone.nodes)
    )
    edge = own[0] if own else mother.Edge("none", copy, "none")
    return Verdict(edge.parent, edge.relation, edge.scheme, moved)


def rows(models: Family) -> Iterator[str]:
    for writer in WRITERS:
        try:
            by = f"{writer.library} {version(writer.library)}" if writer.library else "numpy"
            v = judged(writer, models)
        except (ImportError, PackageNotFoundError):
            yield f"| {writer.name} | {writer.library} | not run here | | | |"
            continue
        right = "yes" if v.parent == "parent" else f"no: {v.parent}"
        told = v.relation if v.relation in writer.relations else f"**{v.relation}**"
        scheme = v.scheme if writer.scheme in v.scheme else f"**{v.scheme}**"
        moved = "**yes**" if v.moved else "no"
        yield f"| {writer.name} | {by} | {right} | {told} | {scheme} | {moved} |"


PAGE = """# Formats

What is read, and what is said of a copy in each format beside its family. Which formats there are,
and what is not read, is in [options and output](usage.md#what-is-a-checkpoint) and
[limits](limits.md#what-isnt-read).

## A copy is a leaf

A quantized copy hangs from its original and takes no part in the search for anybody's parent: the
graph without it is the same graph, byte for byte but for its node. Judged on a family of {many}
small nets trained for it, {edges}, and a stranger; the copy is the
parent's. "Decoded" copies were rounded, decoded again and stored as float16: nothing says that they
are quantized but that their weights take few values in each block. *Moved* is whether any other
edge, hidden ancestor or node changed. Bold is what should not be.

`python -m experiments.formats.leaves docs/formats.md` makes this page; a format is one entry in it.

| format | written by | right parent | relation | scheme told | moved |
|---|---|---|---|---|---|
{rows}
"""


def main() -> None:
    models = family()
    edges = ", ".join(f"{p} → {c}" for p, c in EDGES)
    text = PAGE.format(many=len(models), edges=edges, rows="\n".join(rows(models)))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
