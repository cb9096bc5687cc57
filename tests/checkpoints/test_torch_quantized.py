"""torch's own quantized tensors, read as what they stand for: against torch's dequantize."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mother.checkpoints import open_checkpoint

W = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
SCALES, ZEROS = torch.linspace(0.01, 0.1, 6), torch.arange(6)

TENSORS = {
    "tensor": lambda: torch.quantize_per_tensor(W, 0.05, 3, torch.qint8),
    "wide": lambda: torch.quantize_per_tensor(W, 0.001, 0, torch.qint32),
    "rows": lambda: torch.quantize_per_channel(W, SCALES, ZEROS, 0, torch.quint8),
    "columns": lambda: torch.quantize_per_channel(W.T, SCALES, ZEROS, 1, torch.qint8),
    "turned": lambda: torch.quantize_per_tensor(W, 0.05, 3, torch.qint8).T,
}


@pytest.fixture(autouse=True)
def quiet():
    """torch deprecates what others go on to publish."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", TENSORS)
def test_values_are_those_that_torch_dequantizes(kind, zipped, tmp_path):
    made = TENSORS[kind]()
    path = tmp_path / "model.pt"
    torch.save({"fc.weight": made}, path, _use_new_zipfile_serialization=zipped)
    (tensor,) = open_checkpoint(path).tensors.values()
    wanted = made.dequantize().contiguous().numpy().reshape(-1)
    np.testing.assert_array_equal(tensor.read(), wanted)
    np.testing.assert_array_equal(tensor.read(5, 23), wanted[5:23])
    assert tensor.shape == tuple(made.shape)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 8)
        self.fc, self.head = torch.nn.Linear(8, 6), torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fc(self.embed(x)))


def saved(form: str, dtype: torch.dtype, path: Path) -> None:
    torch.manual_seed(0)
    net = torch.ao.quantization.quantize_dynamic(Net(), {torch.nn.Linear}, dtype=dtype)
    if form == "script":
        torch.jit.script(net).save(str(path))
    else:
        torch.save(net if form == "module" else net.state_dict(), path)


@pytest.mark.parametrize("form", ["state dict", "module", "script"])
def test_modules_of_torch_ao_keep_the_names_of_what_was_quantized(form, tmp_path):
    saved(form, torch.qint8, tmp_path / "model.pt")
    found = open_checkpoint(tmp_path / "model.pt")
    names = {n for n, t in found.tensors.items() if t.size > 1}
    assert names == {"embed.weight", "fc.weight", "fc.bias", "head.weight", "head.bias"}
    assert found.scheme == "torch int8 per tensor"
    torch.manual_seed(0)
    plain = Net().state_dict()
    for name in names:
        off = np.abs(found.tensors[name].read() - plain[name].numpy().reshape(-1)).max()
        assert off <= (0.01 if name in ("fc.weight", "head.weight") else 0)


def test_halves_that_are_packed_keep_their_names(tmp_path):
    saved("state dict", torch.float16, tmp_path / "model.pt")
    found = open_checkpoint(tmp_path / "model.pt")
    assert {"fc.weight", "fc.bias", "head.weight"} <= set(found.tensors)
    assert not found.scheme


def test_codes_that_share_bytes_are_named_and_not_read(tmp_path):
    four = torch.quantize_per_channel(W, SCALES, ZEROS.float(), 0, torch.quint4x2)
    torch.save({"embed.weight": four, "fc.weight": W}, tmp_path / "model.pt")
    found = open_checkpoint(tmp_path / "model.pt")
    assert list(found.tensors) == ["fc.weight"]
    assert found.unread == {"embed.weight": W.numel()}
    assert found.notes == ("skipped 'embed.weight': qtensor is not read",)
