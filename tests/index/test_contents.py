"""Whoever holds some layers of a family bit for bit is found by these."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from families import at_once, order_does_not_matter, write
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mother.checkpoints import Checkpoint, open_checkpoint
from mother.checkpoints.tensor import constant
from mother.index import Index, relatives
from mother.index.store import NAME
from mother.measures.shapes import as_matrix
from mother.sketches.contents import contents
from mother.sketches.sketch import sketch, window_of

LARGE, SMALL = {"embed.weight": (128, 128)}, {f"fc.{k}.weight": (8, 8) for k in range(10)}
FAMILIES = 10  # that a newcomer is compared with, here
STRANGERS = FAMILIES + 6
pytestmark = pytest.mark.usefixtures("few_replicates", "few_families")


@pytest.fixture(scope="module")
def few_families():
    """Each family that is there is recovered whenever an index is checked."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(relatives, "FAMILIES", FAMILIES)
        yield


def drawn(rng, shapes):
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def near(rng, weights):
    return {n: w + 0.05 * rng.normal(size=w.shape).astype(np.float32) for n, w in weights.items()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A newcomer, z, whose largest layer is that of a family, bit for bit, and says that they are
    relatives; and so many strangers to both that are near to it in all of the others, that no
    member of the family is among the nearest."""
    folder, rng = tmp_path_factory.mktemp("hub"), np.random.default_rng(0)
    root = drawn(rng, LARGE | SMALL)
    own = drawn(rng, SMALL)
    write(folder / "a0.safetensors", root)
    for k in range(1, 4):
        write(folder / f"a{k}.safetensors", root | near(rng, {n: root[n] for n in SMALL}))
    for k in range(STRANGERS):
        write(folder / f"s{k:02}.safetensors", drawn(rng, LARGE) | near(rng, own))
    write(folder / "z.safetensors", {n: root[n] for n in LARGE} | own)
    return folder


FAMILY = {"a0", "a1", "a2", "a3", "z"}


def family(index, id="z"):
    (own,) = (m.family for m in index.models() if m.id == id)
    return {m.id for m in index.models() if m.family == own}


def test_a_relative_that_is_far_by_signature_is_found(hub, tmp_path):
    new = hub / "z.safetensors"
    with Index.create(tmp_path / "index") as index:
        index.add([path for path in hub.iterdir() if path != new])
        assert len({m.family for m in index.models()}) == STRANGERS + 1
        came = index.reduce(open_checkpoint(new))
        pool = index._catalogue.pool()
        members = [m.number for m in index.models() if m.id in FAMILY]
        by_signature = pool.candidates(came.architecture, came.signature, ())
        assert not np.isin(pool.numbers[by_signature], members).any()
        by_all = pool.candidates(came.architecture, came.signature, came.contents)
        assert np.isin(pool.numbers[by_all], members).sum() == relatives.MEMBERS
        placed = index.place(new)
        assert placed.compared == len(FAMILY) - 1
        index.add([new])
        assert family(index) == FAMILY
        assert index.verify() == []
        kept = index.graph().to_json()
        assert index.recover().to_json() == kept
        assert family(index) == FAMILY


@pytest.mark.slow
def test_the_order_does_not_matter(hub, tmp_path):
    paths = sorted(hub.glob("*.safetensors"))
    order_does_not_matter(at_once(tmp_path, paths), tmp_path, paths, seeds=2, most=10)
    with Index(tmp_path / "grown1") as index:
        assert family(index) == FAMILY


def test_a_member_that_is_taken_out_is_no_bridge(hub, tmp_path):
    """Whoever holds the same layer is looked up again."""
    with Index.create(tmp_path / "index") as index:
        index.add([hub])
        index.remove(["a0", "a2"])
        assert family(index) == FAMILY - {"a0", "a2"}
        assert index.verify() == []


def test_of_a_layer_that_many_hold_the_first_are_looked_at(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(relatives, "HOLDERS", 2)
    monkeypatch.setattr("mother.index.catalogue.HOLDERS", 2)
    monkeypatch.setattr("mother.index.families.HOLDERS", 2)
    with Index.create(tmp_path / "index") as index:
        index.add([hub])
        (content,) = index.reduce(open_checkpoint(hub / "z.safetensors")).contents & (
            index.reduce(open_checkpoint(hub / "a3.safetensors")).contents
        )
        assert len(index._catalogue.holders(content)) == 2
        assert family(index) == FAMILY
        assert index.verify() == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM contents WHERE model = 2",
        "DELETE FROM contents WHERE hash = (SELECT max(hash) FROM contents WHERE model = 2)",
        "INSERT INTO contents VALUES (7, 2)",
        "UPDATE contents SET hash = 'x' WHERE hash ="
        " (SELECT max(hash) FROM contents WHERE model = 2) AND model = 2",
    ],
)
def test_verify_finds_what_was_altered(hub, tmp_path, statement):
    with Index.create(tmp_path / "index") as index:
        index.add(sorted(hub.glob("a*.safetensors")))
        with sqlite3.connect(tmp_path / "index" / NAME) as database:
            database.execute(statement)
        assert index.verify() == ["a1: not as it was stored"]


def test_nothing_is_left_of_whoever_is_removed(hub, tmp_path):
    with Index.create(tmp_path / "index") as index:
        index.add(sorted(hub.glob("a*.safetensors")))
        index.remove(["a0", "a1", "a2", "a3"])
        assert index._store.rows("SELECT * FROM contents") == []


# what is hashed

#: number types, the narrower first: what one holds the others hold
TYPES = [ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16, np.float32, np.float64]
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple) | st.sampled_from(
    [(64, 64), (4, 300), (300, 4), (40, 40, 3), (1, 700)]
)


def of(weights, budget=1 << 20, seed=0, **names):
    layers = {names.get(n, n): constant(names.get(n, n), w) for n, w in weights.items()}
    return sketch(Checkpoint("m", Path("m"), "npz", layers), budget, seed=seed)


def expected(weights, sketched):
    """What the page of `contents` says, of one layer, in plain Python."""
    rows, columns = window_of(sketched).places(weights.shape)
    matrix = weights.reshape(as_matrix(weights.shape)).astype(np.float64)
    values = [0.0 if (x := float(matrix[r, c])) == 0 else x for r in rows for c in columns][:16]
    if len(set(values)) == 1 or not all(map(np.isfinite, values)):
        return None
    held = repr(weights.shape).encode() + struct.pack(f"<{len(values)}d", *values)
    return struct.unpack("<q", hashlib.blake2b(held, digest_size=8).digest())[0]


@given(data=st.data(), shape=SHAPES, budget=st.sampled_from([1 << 10, 1 << 20]))
def test_it_is_the_hash_of_what_is_written(data, shape, budget):
    kind = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    few = st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e-7, np.inf, np.nan])
    fill = few | st.floats(-4, 4, width=16)
    weights = data.draw(arrays(kind, shape, elements=fill, fill=fill))
    small = of({"w": weights}, budget)
    wanted = expected(weights, small.tensors["w"])
    assert contents(small) == ({} if wanted is None else {"w": wanted})


@given(seed=st.integers(0, 99), shape=SHAPES)
def test_the_number_type_is_nothing_to_it(seed, shape):
    """Nor are the sign of 0, the budget, and what is put before a name: of a layer of which more
    than 16 weights are sampled."""
    rng = np.random.default_rng(seed)
    narrow = rng.normal(size=shape).astype(TYPES[0])
    found = [of({"w": narrow.astype(kind)}) for kind in TYPES]
    found += [of({"w": narrow.astype(kind)}, 1 << 10) for kind in TYPES]
    found += [of({"w": narrow}, w="model.w"), of({"w": np.where(narrow == 0, -0.0, narrow)})]
    assert len({frozenset(contents(one).values()) for one in found}) == 1


def test_matrices_are_hashed_where_there_are_any():
    rng = np.random.default_rng(0)
    weights = drawn(rng, {"a.weight": (8, 8), "a.bias": (8,), "b.weight": (8, 8)})
    assert contents(of(weights)).keys() == {"a.weight", "b.weight"}
    assert contents(of({"a.bias": weights["a.bias"]})).keys() == {"a.bias"}


def test_other_weights_and_other_shapes_have_other_hashes():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(40, 40))
    other = w.copy()
    other[window_of(of({"w": w}).tensors["w"]).top] += 1e-9
    every = [of({"w": x}) for x in (w, other, w.reshape(20, 80), w.reshape(40, 20, 2))]
    assert len({contents(one)["w"] for one in every}) == 4
