"""Adapters in an index, and the base that they are merged into."""

import json

import numpy as np
import pytest
from families import write

from mother.index import Index

BUDGET = 4 << 10
LAYERS = [f"layers.{k}.weight" for k in range(4)]


@pytest.fixture
def own(tmp_path):
    """A base, a model trained from it, and an adapter."""
    folder = tmp_path / "own"
    (folder / "adapter").mkdir(parents=True)
    rng = np.random.default_rng(0)
    base = {name: rng.normal(size=(48, 32)) for name in LAYERS}
    write(folder / "base.safetensors", base)
    near = {n: w + 0.02 * rng.normal(size=w.shape) for n, w in base.items()}
    write(folder / "child.safetensors", near)
    factors = {
        f"base_model.model.layers.{k}.lora_{side}.weight": 0.1 * rng.normal(size=shape)
        for k in range(4)
        for side, shape in (("A", (4, 32)), ("B", (48, 4)))
    }
    write(folder / "adapter" / "adapter_model.safetensors", factors)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", budget=BUDGET) as made:
        yield made


def parents(index):
    return {e.child: e.parent for e in index.graph().edges}


def test_a_base_that_is_given_later(index, own):
    index.add([own])
    assert "adapter" not in parents(index)
    added = index.add([own], base=own / "base.safetensors")
    assert (added.changed, added.unchanged) == (("adapter",), ("base", "child"))
    assert parents(index)["adapter"] == "base"
    assert index.verify() == []


def test_a_base_that_is_not_given_again(index, own):
    index.add([own], base=own / "base.safetensors")
    before = index.graph().to_json()
    assert index.add([own]).unchanged == ("adapter", "base", "child")
    assert index.graph().to_json() == before


def test_a_base_that_has_changed(index, own, tmp_path):
    index.add([own], base=own / "base.safetensors")
    rng = np.random.default_rng(1)
    write(own / "base.safetensors", {name: rng.normal(size=(48, 32)) for name in LAYERS})
    added = index.add([own], base=own / "base.safetensors")
    assert (added.changed, added.unchanged) == (("adapter", "base"), ("child",))
    with Index.create(tmp_path / "afresh", budget=BUDGET) as afresh:
        afresh.add([own], base=own / "base.safetensors")
        assert index.graph().to_json() == afresh.graph().to_json()
    assert index.add([own], base=own / "base.safetensors").changed == ()


def test_another_base(index, own):
    index.add([own], base=own / "base.safetensors")
    added = index.add([own], base=own / "child.safetensors")
    assert (added.changed, added.unchanged) == (("adapter",), ("base", "child"))
    assert parents(index)["adapter"] == "child"
