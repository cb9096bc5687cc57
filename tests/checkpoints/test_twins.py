"""A folder that holds its model in two formats: one model, unless the numbers are another's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit import save

import mother
from mother.checkpoints import discover
from mother.checkpoints.passed_over import passed_over


def _state(seed=0):
    draw = np.random.default_rng(seed)
    return {f"layers.{k}.weight": draw.normal(size=(32, 48)).astype("f4") for k in range(4)}


def _tensors(state, dtype=torch.float32):
    return {name: torch.from_numpy(w).to(dtype) for name, w in state.items()}


def _left(folder):
    found, problems = discover([folder])
    return {p.path.name: p.fault for p in passed_over([folder], found, problems)}


def test_other_weights_beside_those_that_are_read_are_told(tmp_path):
    for k in range(3):
        save(tmp_path / f"m{k}" / "model.safetensors", _state(k))
    torch.save(_tensors(_state(7)), tmp_path / "m1" / "pytorch_model.bin")
    graph = mother.recover(tmp_path)
    assert len(graph.nodes) == 3
    told = "other weights than model.safetensors, which was read"
    assert [(x.fault, x.path) for x in graph.unread] == [
        (told, str(tmp_path / "m1" / "pytorch_model.bin"))
    ]


def test_one_tensor_that_was_trained_on_is_enough(tmp_path):
    save(tmp_path / "model.safetensors", _state())
    other = _state()
    other["layers.2.weight"] *= 1.001
    torch.save(_tensors(other), tmp_path / "pytorch_model.bin")
    assert _left(tmp_path)["pytorch_model.bin"].startswith("other weights")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_same_model_in_another_format_is_not_called_another(tmp_path, dtype):
    save(tmp_path / "model.safetensors", _state())
    torch.save(_tensors(_state(), dtype), tmp_path / "pytorch_model.bin")
    assert _left(tmp_path) == {"pytorch_model.bin": "not read"}


def test_nothing_is_said_of_names_that_are_others(tmp_path):
    save(tmp_path / "model.safetensors", _state())
    torch.save(
        {f"module.{n}": w for n, w in _tensors(_state(3)).items()}, tmp_path / "pytorch_model.bin"
    )
    assert _left(tmp_path) == {"pytorch_model.bin": "not read"}
