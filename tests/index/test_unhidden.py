"""`place` finds a model under other labels, by what relabelling leaves of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from families import write

from mother.graph.placement import in_words
from mother.index import Index
from mother.index.store import NAME

WIDTH, UNITS, BLOCKS = 24, 64, 3


def net(seed):
    draw = np.random.default_rng(seed)
    out = {"embed.weight": draw.normal(size=(100, WIDTH))}
    for k in range(BLOCKS):
        out[f"h.{k}.up.weight"] = draw.normal(size=(UNITS, WIDTH))
        out[f"h.{k}.down.weight"] = draw.normal(size=(WIDTH, UNITS))
    return {name: w.astype("f4") for name, w in out.items()}


def tuned(weights, seed):
    draw = np.random.default_rng(seed)
    return {n: w + 0.1 * draw.standard_normal(w.shape, "f4") for n, w in weights.items()}


def hidden(weights, seed):
    """Units permuted, the stream rotated: the function is the same."""
    draw = np.random.default_rng(seed)
    spin = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))[0]
    out = {"embed.weight": weights["embed.weight"] @ spin}
    for k in range(BLOCKS):
        order = draw.permutation(UNITS)
        out[f"h.{k}.up.weight"] = weights[f"h.{k}.up.weight"][order] @ spin
        out[f"h.{k}.down.weight"] = spin.T @ weights[f"h.{k}.down.weight"][:, order]
    return {name: w.astype("f4") for name, w in out.items()}


@pytest.fixture
def index(tmp_path):
    """Three strangers, of which one has a child."""
    models = {f"base{k}": net(k) for k in range(3)} | {"kid": tuned(net(1), 7)}
    (tmp_path / "models").mkdir()
    for name, weights in models.items():
        write(tmp_path / "models" / f"{name}.safetensors", weights)
    write(tmp_path / "hidden.safetensors", hidden(tuned(net(1), 8), 9))
    Index.create(tmp_path / "index").close()
    with Index(tmp_path / "index") as made:
        made.add([tmp_path / "models"])
        yield made


def test_a_hidden_model_is_found_among_many(index, tmp_path):
    found = index.place(tmp_path / "hidden.safetensors")
    assert found.found == "child"
    assert found.parent == "base1"
    assert found.edge.relabelled.tried == 4
    assert found.edge.relabelled.p < 1e-20
    assert set(found.edge.relabelled.undone) == {"stream rotated", "units permuted"}
    assert len(index) == 4
    write(tmp_path / "other.safetensors", net(5))
    assert index.place(tmp_path / "other.safetensors").found == "alone"


def test_what_can_t_be_opened_is_said(index, tmp_path):
    for name in ("base1", "kid"):
        (tmp_path / "models" / f"{name}.safetensors").unlink()
    found = index.place(tmp_path / "hidden.safetensors")
    assert (found.found, set(found.alike)) == ("alone", {"base1", "kid"})
    assert any("it may be hidden from there" in line for line in in_words(found))


def test_an_index_of_the_schema_before_is_opened_and_grows(index, tmp_path):
    """As it was, it knew no labels: what it holds is not found so, what comes is."""
    index.close()
    with closing(sqlite3.connect(tmp_path / "index" / NAME)) as connection:
        connection.execute("UPDATE models SET signature = substr(signature, 1, 256)")
        connection.execute("PRAGMA user_version = 7")
        connection.commit()
    with Index(tmp_path / "index") as old:
        assert old.place(tmp_path / "hidden.safetensors").found == "alone"
        write(tmp_path / "late.safetensors", tuned(net(1), 12))
        assert old.add([tmp_path / "late.safetensors"]).new == ("late",)
        found = old.place(tmp_path / "hidden.safetensors")
        assert found.edge.relabelled.tried == 1
    with closing(sqlite3.connect(tmp_path / "index" / NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (8,)
