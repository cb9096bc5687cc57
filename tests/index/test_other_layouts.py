"""Models under other names and with kernels the other way round are among their relatives in an
index, whoever came first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from families import write
from safetensors.numpy import load_file

from mother.index import Index

SHAPES = {"embed.weight": (64, 32)}
SHAPES |= {f"block.{k}.up.weight": (48, 32) for k in range(2)}
SHAPES |= {f"block.{k}.down.weight": (32, 48) for k in range(2)}
SHAPES |= {f"block.{k}.up.bias": (48,) for k in range(2)}


def drawn(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal(shape, "f4") for name, shape in SHAPES.items()}


def tuned(weights: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    steps = drawn(seed)
    return {name: w + np.float32(0.05) * steps[name] for name, w in weights.items()}


def foreign(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Names that have nothing in common, kernels (in, out)."""
    held = {f"Layer_{k:02}/{w.ndim}": w.T for k, w in enumerate(weights.values())}
    np.savez(path, **held)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base, stranger = drawn(0), drawn(1)
    parent = tuned(base, 2)
    family = {"base": base, "parent": parent, "sibling": tuned(base, 3), "stranger": stranger}
    for name, weights in family.items():
        write(folder / f"{name}.safetensors", weights)
    foreign(folder / "unlike-copy.npz", parent)
    foreign(folder / "unlike-kid.npz", tuned(parent, 4))
    foreign(folder / "unlike-other.npz", drawn(5))
    return folder


def made(folder: Path, *batches: list[Path]) -> Index:
    Index.create(folder).close()
    index = Index(folder)
    for batch in batches:
        added = index.add(batch)
        assert not added.problems
    return index


def test_the_order_does_not_matter(models: Path, tmp_path: Path) -> None:
    unlike, others = sorted(models.glob("unlike*")), sorted(models.glob("*.safetensors"))
    one_by_one = [[path] for path in (*unlike, *others)]
    orders = [[models]], [others, unlike], [unlike, others], one_by_one, one_by_one[::-1]
    found = []
    for k, batches in enumerate(orders):
        with made(tmp_path / str(k), *batches) as index:
            found.append(index.graph().to_json())
            edges = {e.child: (e.parent, e.relation) for e in index.graph().edges}
            assert edges["unlike-copy"] == ("parent", "duplicate")
            assert edges["unlike-kid"][0] == "parent"
            assert edges["sibling"][0] == edges["parent"][0] == "base"
            assert not {"stranger", "unlike-other"} & edges.keys()
            assert index.verify() == []
            assert index.add([models]).unchanged == tuple(sorted(p.stem for p in models.iterdir()))
    assert len(set(found)) == 1


def test_it_is_placed_there(models: Path, tmp_path: Path) -> None:
    with made(tmp_path / "index", sorted(models.glob("*.safetensors"))) as index:
        found = index.place(models / "unlike-copy.npz")
        assert (found.found, found.parent) == ("child", "parent")
        assert index.place(models / "unlike-other.npz").found == "alone"
        assert len(index) == 4


def test_without_the_files_it_stays_alone(models: Path, tmp_path: Path) -> None:
    """Sketches do not say what is where."""
    own = tmp_path / "parent.safetensors"
    own.write_bytes((models / "parent.safetensors").read_bytes())
    with made(tmp_path / "index", [own]) as index:
        own.unlink()
        index.add([models / "unlike-copy.npz"])
        assert index.graph().edges == ()


def test_vectors_under_other_names_are_found_where_names_join_the_rest(
    models: Path, tmp_path: Path
) -> None:
    """As an exporter writes them that folds norms into constants, beside numbers of its own."""
    for name, kind in (("same", np.float32), ("half", np.float16)):
        held = {f"self.{n}": w for n, w in load_file(models / "parent.safetensors").items()}
        for k, bias in enumerate([n for n in held if n.endswith("bias")]):
            held[f"Constant_{k}"] = held.pop(bias).reshape(1, 1, -1)
        held |= {"Constant_9": np.full(1, 1e-5, np.float32)}
        np.savez(tmp_path / f"zz-{name}.npz", **{n: w.astype(kind) for n, w in held.items()})
    copies, others = sorted(tmp_path.glob("zz*")), sorted(models.glob("*.safetensors"))
    with made(tmp_path / "1", others) as index:
        before = index.graph()
        index.add(copies)
        last = index.graph()
    with made(tmp_path / "2", copies, others) as index:
        assert index.graph().to_json() == last.to_json()
    assert [e for e in last.edges if not e.child.startswith("zz")] == list(before.edges)
    told = {e.child: (e.parent, e.relation) for e in last.edges}
    assert told["zz-same"] == ("parent", "duplicate")
    assert told["zz-half"] == ("parent", "converted")
