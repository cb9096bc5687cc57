"""Files that were laid out and never filled are refused; zeros that belong to a model are not."""

from __future__ import annotations

import numpy as np
import pytest
from kit import save, save_gguf

import mother
from mother.checkpoints import open_checkpoint


def _model(seed=0):
    rng = np.random.default_rng(seed)
    return {f"layers.{k}.weight": rng.normal(size=(96, 128)).astype("f4") for k in range(4)}


WRITERS = {"safetensors": save, "gguf": save_gguf}


def _emptied(path, share):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * share))
        file.truncate(size)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("share", [0.3001, 0.9002])
def test_a_file_that_was_not_filled_is_refused_and_the_others_are_recovered(
    tmp_path, ending, share
):
    base = _model()
    for k in range(3):
        step = np.random.default_rng(9 + k)
        child = {n: w + 0.1 * step.normal(size=w.shape).astype("f4") for n, w in base.items()}
        WRITERS[ending](tmp_path / f"m{k}.{ending}", child)
    _emptied(tmp_path / f"m2.{ending}", share)
    graph = mother.recover(tmp_path)
    assert {node.id for node in graph.nodes} == {"m0", "m1"}
    (fault,) = graph.refused
    assert "was laid out and not filled; fetch it again" in fault.fault


def _padded(model):
    model["layers.3.weight"][40:] = 0


def _begun_at_zero(model):
    model["layers.2.weight"][:] = model["layers.3.weight"][:] = 0


def _without_columns(model):
    model["layers.3.weight"][:, 20:] = 0


def _pruned(model):
    for w in model.values():
        w[np.abs(w) < 1.5] = 0


def _counts(model):
    model["z"] = np.zeros((64, 64), "i8")
    model["z"][:8] = 1


def _padded_before_a_bias(model):
    model["layers.3.weight"][:, 120:] = 0
    model["z.bias"] = np.zeros(2048, "f4")


def _padded_both_ways(model):
    model["layers.3.weight"][40:] = 0
    model["layers.3.weight"][:, 120:] = 0


def _pruned_and_padded(model):
    _pruned(model)
    model["layers.3.weight"][40:] = model["layers.3.weight"][39, 120:] = 0


def _dead_units_before_a_lora(model):
    model["layers.3.weight"] = model["layers.3.weight"][0]
    model["layers.3.weight"][124:] = 0
    model["lora_B"] = np.zeros((256, 8), "f4")


def _lora_of_less_rank(model):
    model["lora_A"] = np.random.default_rng(5).normal(size=(8, 256)).astype("f4")
    model["lora_B"] = np.random.default_rng(6).normal(size=(256, 8)).astype("f4")
    model["lora_B"][:, 4:] = 0
    model["next.lora_B"] = np.zeros((256, 8), "f4")


def _experts_that_nothing_is_sent_to(model):
    model["z.experts"] = np.random.default_rng(5).normal(size=(8, 16, 64)).astype("f4")
    model["z.experts"][:, :, 60:] = 0
    model["z.experts"][3:] = 0


@pytest.mark.parametrize(
    "change",
    [
        _padded,
        _begun_at_zero,
        _without_columns,
        _pruned,
        _counts,
        _padded_before_a_bias,
        _padded_both_ways,
        _pruned_and_padded,
        _dead_units_before_a_lora,
        _lora_of_less_rank,
        _experts_that_nothing_is_sent_to,
    ],
)
def test_zeros_of_a_model_are_no_fault(tmp_path, change):
    model = _model()
    change(model)
    path = save(tmp_path / "m.safetensors", model)
    assert {tensor.name for tensor in open_checkpoint(path).tensors.values()} == model.keys()
