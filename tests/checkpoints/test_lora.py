import json
import math

import numpy as np
import pytest
import safetensors.numpy
import torch

from mother.checkpoints import open_checkpoint
from mother.errors import InputError

RNG = np.random.default_rng(0)
BASE = {
    "model.q.weight": RNG.normal(size=(6, 5)),
    "model.q.bias": RNG.normal(size=6),
    "model.gpt.weight": RNG.normal(size=(5, 6)),
    "model.square.weight": RNG.normal(size=(4, 4)),
    "model.conv.weight": RNG.normal(size=(6, 3, 2, 2)),
    "model.embed.weight": RNG.normal(size=(9, 4)),
    "classifier.weight": RNG.normal(size=(2, 6)),
}
BASE = {name: values.astype(np.float32) for name, values in BASE.items()}


def save(folder, name, arrays):
    folder.mkdir(exist_ok=True)
    plain = {n: np.ascontiguousarray(a, dtype=np.float32) for n, a in arrays.items()}
    safetensors.numpy.save_file(plain, folder / name)


@pytest.fixture
def base(tmp_path):
    save(tmp_path, "base.safetensors", BASE)
    return tmp_path / "base.safetensors"


def adapter(tmp_path, tensors, **config):
    folder = tmp_path / "adapter"
    save(folder, "adapter_model.safetensors", tensors)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def factors(module, inner, outer, rank=2):
    a, b = RNG.normal(size=(rank, inner)), RNG.normal(size=(outer, rank))
    names = [f"base_model.model.{module}.lora_{side}.weight" for side in "AB"]
    return dict(zip(names, (a, b), strict=True)), b @ a


def test_an_adapter_alone_is_its_factors(tmp_path):
    tensors, _ = factors("model.q", 5, 6)
    checkpoint = open_checkpoint(adapter(tmp_path, tensors))
    assert (checkpoint.id, checkpoint.format) == ("adapter", "peft")
    assert checkpoint.config["lora_alpha"] == 6
    assert checkpoint.notes == ()
    assert set(checkpoint.tensors) == set(tensors)


def test_a_rank_that_the_config_does_not_say_is_noted(tmp_path, base):
    checkpoint = open_checkpoint(adapter(tmp_path, factors("model.q", 5, 6, 3)[0]))
    assert "rank 2" in checkpoint.notes[0]
    noted = open_checkpoint(
        adapter(tmp_path, factors("model.q", 5, 6, 3)[0], rank_pattern={"q": 3})
    )
    assert noted.notes == ()


def merged(tmp_path, base, tensors, **config):
    return open_checkpoint(adapter(tmp_path, tensors, **config), base=base)


def check(checkpoint, name, expected):
    tensor = checkpoint.tensors[name]
    assert tensor.shape == expected.shape
    flat = expected.ravel()
    for start in range(0, flat.size, 3):
        for stop in (start + 1, start + 2, start + 7, flat.size):
            np.testing.assert_allclose(tensor.read(start, stop), flat[start:stop], atol=1e-5)


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, 3.0),
        ({"use_rslora": True}, 6 / math.sqrt(2)),
        ({"alpha_pattern": {"q": 1}}, 0.5),
        ({"alpha_pattern": {"^model\\.q$": 1}}, 0.5),
        ({"alpha_pattern": {"other": 1}}, 3.0),
    ],
)
def test_scaling(tmp_path, base, config, scaling):
    tensors, delta = factors("model.q", 5, 6)
    checkpoint = merged(tmp_path, base, tensors, **config)
    check(checkpoint, "model.q.weight", BASE["model.q.weight"] + scaling * delta)
    for name in BASE.keys() - {"model.q.weight"}:
        check(checkpoint, name, BASE[name])
    assert list(checkpoint.tensors) == list(open_checkpoint(base).tensors)
    assert checkpoint.tensors["model.q.weight"].dtype == np.float32


def test_transposed_layers(tmp_path, base):
    tensors, delta = factors("model.gpt", 5, 6)
    check(
        merged(tmp_path, base, tensors), "model.gpt.weight", BASE["model.gpt.weight"] + 3 * delta.T
    )
    tensors, delta = factors("model.square", 4, 4)
    for told in (True, False):
        checkpoint = merged(tmp_path, base, tensors, fan_in_fan_out=told)
        change = 3 * (delta.T if told else delta)
        check(checkpoint, "model.square.weight", BASE["model.square.weight"] + change)


def test_convolutions_as_peft_merges_them(tmp_path, base):
    a, b = RNG.normal(size=(2, 3, 2, 2)), RNG.normal(size=(6, 2, 1, 1))
    names = [f"base_model.model.model.conv.lora_{side}.weight" for side in "AB"]
    checkpoint = merged(tmp_path, base, dict(zip(names, (a, b), strict=True)))
    # the formula of peft.tuners.lora.Conv2d.get_delta_weight
    change = torch.nn.functional.conv2d(torch.tensor(a).permute(1, 0, 2, 3), torch.tensor(b))
    expected = BASE["model.conv.weight"] + 3 * change.permute(1, 0, 2, 3).numpy()
    check(checkpoint, "model.conv.weight", expected)


def test_embeddings(tmp_path, base):
    a, b = RNG.normal(size=(2, 9)), RNG.normal(size=(4, 2))
    names = [f"base_model.model.model.embed.lora_embedding_{side}" for side in "AB"]
    checkpoint = merged(tmp_path, base, dict(zip(names, (a, b), strict=True)))
    check(checkpoint, "model.embed.weight", BASE["model.embed.weight"] + 3 * (b @ a).T)


def test_modules_to_save_take_the_place_of_the_base_s(tmp_path, base):
    tensors, _ = factors("model.q", 5, 6)
    head, bias = RNG.normal(size=(7, 6)), RNG.normal(size=6)
    tensors["base_model.model.classifier.modules_to_save.default.weight"] = head
    tensors["base_model.model.model.q.base_layer.bias"] = bias
    tensors["base_model.model.new_head.weight"] = head
    checkpoint = merged(tmp_path, base, tensors)
    check(checkpoint, "classifier.weight", head)
    check(checkpoint, "model.q.bias", bias)
    check(checkpoint, "new_head.weight", head)
    assert len(checkpoint.tensors) == len(BASE) + 1


def test_the_base_may_have_another_prefix(tmp_path, base):
    tensors, delta = factors("wrapped.model.q", 5, 6)
    check(merged(tmp_path, base, tensors), "model.q.weight", BASE["model.q.weight"] + 3 * delta)
    tensors, delta = factors("q", 5, 6)
    check(merged(tmp_path, base, tensors), "model.q.weight", BASE["model.q.weight"] + 3 * delta)


def test_named_adapters_in_bin_files(tmp_path, base):
    tensors, delta = factors("model.q", 5, 6)
    folder = adapter(tmp_path, tensors)
    (folder / "adapter_model.safetensors").unlink()
    renamed = {
        n.replace(".weight", ".default.weight"): torch.tensor(np.float32(t))
        for n, t in tensors.items()
    }
    torch.save(renamed, folder / "adapter_model.bin")
    checkpoint = open_checkpoint(folder, base=base)
    check(checkpoint, "model.q.weight", BASE["model.q.weight"] + 3 * delta)


@pytest.mark.parametrize(
    ("module", "inner", "outer", "config", "fault"),
    [
        ("model.absent", 5, 6, {}, r"model\.absent"),
        ("model.q", 4, 6, {}, "fit"),
        ("model.q", 5, 6, {"use_dora": True}, "DoRA"),
        ("model.q", 5, 6, {"peft_type": "IA3"}, "IA3"),
        ("model.q", 5, 6, {"lora_alpha": "x"}, "alpha"),
        ("model.q", 5, 6, {"lora_alpha": 1e300}, "alpha"),
        ("model.q", 5, 6, {"alpha_pattern": {"(a+)+$": 1}}, "alpha_pattern"),
    ],
)
def test_what_does_not_fit_the_base(tmp_path, base, module, inner, outer, config, fault):
    with pytest.raises(InputError, match=fault):
        merged(tmp_path, base, factors(module, inner, outer)[0], **config)


def test_half_a_pair(tmp_path, base):
    tensors, _ = factors("model.q", 5, 6)
    tensors.popitem()
    with pytest.raises(InputError, match="factors"):
        merged(tmp_path, base, tensors)


def test_wider_bases_stay_wide(tmp_path):
    weight = RNG.normal(size=(6, 5))
    np.savez(tmp_path / "base.npz", **{"model.q.weight": weight})
    tensors, delta = factors("model.q", 5, 6)
    checkpoint = merged(tmp_path, tmp_path / "base.npz", tensors)
    assert checkpoint.tensors["model.q.weight"].dtype == np.float64
    check(checkpoint, "model.q.weight", weight + 3 * delta)
