"""Compressed copies beside their originals: leaves, unless models descend from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import mother
from mother.copies.compressed import descended
from mother.copies.quantized import marked
from mother.measures import Measures

Weights = dict[str, np.ndarray]
SHAPE, LAYERS = (64, 64), 4
EDGES = [("a", "b"), ("a", "c"), ("b", "d"), ("b", "e"), ("c", "f"), ("c", "g")]


def bf16(w: np.ndarray) -> np.ndarray:
    return w.astype(ml_dtypes.bfloat16).astype(np.float32)


def int8(w: np.ndarray) -> np.ndarray:
    step = np.abs(w).max() / 127
    return (np.rint(w / step) * step).astype(np.float32)


def pruned(w: np.ndarray) -> np.ndarray:
    return np.where(np.abs(w) > np.median(np.abs(w)), w, 0).astype(np.float32)


COMPRESSIONS = {"converted": bf16, "quantized": int8, "pruned": pruned}


def compressed(weights: Weights, compress: Callable[[np.ndarray], np.ndarray]) -> Weights:
    return {name: compress(w) for name, w in weights.items()}


def child(rng: np.random.Generator, weights: Weights, size: float) -> Weights:
    return {k: (w + size * rng.normal(size=w.shape)).astype(np.float32) for k, w in weights.items()}


def family(size: float = 0.3) -> dict[str, Weights]:
    rng = np.random.default_rng(3)
    models = {"a": {f"{k}.weight": rng.normal(size=SHAPE) for k in range(LAYERS)}}
    models["a"] = compressed(models["a"], lambda w: w.astype(np.float32))
    for parent, name in EDGES:
        models[name] = child(rng, models[parent], size)
    return models


def recovered(folder: Path, models: dict[str, Weights]) -> dict[tuple[str, str], str]:
    for name, weights in models.items():
        save_file(weights, folder / f"{name}.safetensors")
    graph = mother.recover(folder, bootstrap=4)
    assert len(graph.trees) == 1
    return {(e.parent, e.child): e.relation for e in graph.edges}


@pytest.mark.parametrize("relation", COMPRESSIONS)
def test_every_copy_hangs_from_its_original_and_moves_nothing_else(
    tmp_path: Path, relation: str
) -> None:
    models = family()
    copies = {f"{k}-copy": compressed(w, COMPRESSIONS[relation]) for k, w in models.items()}
    found = recovered(tmp_path, models | copies)
    assert set(found) == {*EDGES, *((k, f"{k}-copy") for k in models)}
    assert all(found[k, f"{k}-copy"] == relation for k in models)


@pytest.mark.parametrize("relation", COMPRESSIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_copy_is_the_parent_of_what_was_trained_from_it(
    tmp_path: Path, relation: str, masked: bool
) -> None:
    models, rng = family(), np.random.default_rng(4)
    models["b-copy"] = compressed(models["b"], COMPRESSIONS[relation])
    models["h"] = child(rng, models["b-copy"], 0.02)  # faint enough to tell
    if masked:  # zeros stay zeros
        models["h"] = {k: np.where(models["b-copy"][k] != 0, w, 0) for k, w in models["h"].items()}
    models["i"] = child(rng, models["h"], 0.02)
    found = recovered(tmp_path, models)
    assert set(found) == {*EDGES, ("b", "b-copy"), ("b-copy", "h"), ("h", "i")}
    assert found["b", "b-copy"] == relation


def test_a_faint_fine_tune_that_was_rounded_is_no_copy(tmp_path: Path) -> None:
    models = family()
    tuned = child(np.random.default_rng(5), models["g"], 0.002)
    models["h"] = compressed(tuned, int8)
    found = recovered(tmp_path, models)
    # who was first does not show in a step far below the grid's
    assert [relation for edge, relation in found.items() if set(edge) == {"g", "h"}] == [
        "fine-tune"
    ]


def test_copies_that_bear_the_marks_of_each_other_make_no_circle() -> None:
    # 0 and its copy 1, 2 and its copy 3: 0 holds what made 3, and 2 what made 1
    rng = np.random.default_rng(6)
    base, one, two = rng.normal(size=(3, 500))
    w = np.stack([base + two, base + two + one, base + one, base + one + two])
    w[1] += 0.1 * rng.normal(size=500)
    m = Measures(("u",), ((100, 100),), np.array([10000]), (w @ w.T)[None])
    original = np.array([-1, 0, -1, 2])
    up = np.where(original >= 0, original, descended(m, original))
    for _ in range(5):
        up = np.where(up >= 0, up[up], -1)
    assert (up == -1).all()


@pytest.mark.parametrize("relation", ["quantized", "pruned"])
def test_compare_tells_them(tmp_path: Path, relation: str) -> None:
    models = family()
    save_file(models["a"], tmp_path / "a.safetensors")
    save_file(compressed(models["a"], COMPRESSIONS[relation]), tmp_path / "b.safetensors")
    c = mother.compare(tmp_path / "b.safetensors", tmp_path / "a.safetensors")
    assert (c.relation, c.parent) == (relation, "b")
    assert c.distance


@pytest.mark.parametrize("many", [2, 3])
def test_models_that_differ_in_their_heads_alone_are_one_tree(tmp_path: Path, many: int) -> None:
    body = family()["a"]
    for k in range(many):
        head = np.random.default_rng(10 + k).normal(size=(10, 64)).astype(np.float32)
        save_file(body | {"head.weight": head}, tmp_path / f"{k}.safetensors")
    graph = mother.recover(tmp_path, bootstrap=4)
    assert [tree.members for tree in graph.trees] == [tuple(str(k) for k in range(many))]
    assert all(edge.undirected for edge in graph.edges)
    assert (
        mother.compare(tmp_path / "0.safetensors", tmp_path / "1.safetensors").relation
        == "relatives"
    )


@pytest.mark.filterwarnings("error")
def test_twins_but_for_their_heads_in_a_family(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def draw(size: float, *shape: int) -> np.ndarray:
        return (size * rng.normal(size=shape)).astype(np.float32)

    parent = {f"{k}.weight": draw(1.0, 64, 64) for k in range(6)}
    child = {name: w + draw(0.1, 64, 64) for name, w in parent.items()}
    for name, body in (("parent", parent), ("child", child), ("twin", child)):
        save_file(body | {"head.weight": draw(1.0, 10, 64)}, tmp_path / f"{name}.safetensors")
    graph = mother.recover(tmp_path, bootstrap=4)
    found = {(edge.parent, edge.child): edge.undirected for edge in graph.edges}
    assert len(graph.trees) == 1
    assert len(found) == 2
    twins = [e for e in found if set(e) == {"child", "twin"}]
    assert not twins or found[twins[0]]
    assert not any(edge[1] == "parent" for edge in found)


def test_a_rounded_copy_that_an_exporter_named_its_vectors_anew(tmp_path: Path) -> None:
    """As OpenVINO stores a model in half precision: matrices by their names, vectors as constants
    of one dimension more."""
    models = family()
    for k, weights in enumerate(models.values()):
        weights["norm"] = np.random.default_rng(k).normal(size=64).astype(np.float32)
    copy = {f"net.{name}": w.astype(np.float16) for name, w in models["d"].items() if w.ndim == 2}
    copy["Constant_7"] = models["d"]["norm"].astype(np.float16).reshape(1, 1, 64)
    copy["cosines"] = np.linspace(0, 1, 32, dtype=np.float32)  # of positions, in single precision
    other = copy | {"Constant_7": models["e"]["norm"].astype(np.float16).reshape(1, 1, 64)}
    found = recovered(tmp_path, models | {"y": copy, "z": other})
    assert found.pop(("d", "y")) == "converted"
    assert {found.pop((p, "z"), "none") for p in ("d", "y")} & {"converted", "duplicate"} == set()
    assert found.keys() == set(EDGES)


@pytest.mark.parametrize("rounded", [np.float16, bf16], ids=["half", "bfloat16"])
def test_copies_of_copies_hang_from_what_is_none(
    tmp_path: Path, rounded: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Rounded from an export that holds a number more: the only copy of which all is the same."""
    models = {k: w for k, w in family().items() if k in "abc"}
    models["y"] = models["b"] | {"Constant_9": np.full(1, 0.5, np.float32)}
    as_float = np.float16 if rounded is np.float16 else np.float32
    models["z"] = {n: rounded(w).astype(as_float) for n, w in models["y"].items()}
    found = recovered(tmp_path, models)
    assert found["b", "y"] == "duplicate"
    assert found["b", "z"] == "converted"
    assert {("a", "b"), ("a", "c")} <= found.keys()


def test_a_stranger_is_not_made_from_a_copy_that_is_shorter() -> None:
    """Rounding may make a copy shorter, and so nearer to whatever points elsewhere."""
    rng = np.random.default_rng(0)
    key = "w", (64, 256)
    original = rng.choice([-1.0, 1.0], key[1]) * rng.uniform(1.01, 1.06, key[1])
    copy = original.astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    stranger = rng.choice([-1.0, 1.0], key[1])
    kid = copy + 0.1 * rng.normal(size=key[1])
    assert not marked({key: copy}, {key: original}, [{key: stranger}])
    assert not marked({key: copy}, {key: original}, [{key: original + 0.1 * stranger}])
    assert marked({key: copy}, {key: original}, [{key: kid}])


def test_equal_floats_beside_other_codes_are_nobodys_copies(tmp_path: Path) -> None:
    """Four-bit codes of a stranger beside the same embedding: what was compared is equal, and the
    rest is not known. With zeros, as a padded embedding has, nothing was pruned, either."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(400, 64)).astype(np.float32)
    table[0] = 0
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        codes = np.random.default_rng(seed).integers(0, 256, (4000, 1), np.uint8)
        held = {"embed.weight": table, "head.weight": table[::2].copy(), "fc.codes": codes}
        save_file(held, tmp_path / f"{name}.safetensors")
    graph = mother.recover(tmp_path, bootstrap=4)
    assert {(e.relation, e.undirected) for e in graph.edges} == {("relatives", True)}
    assert all(0.5 < node.compared < 0.95 for node in graph.nodes)
