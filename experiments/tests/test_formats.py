"""The page on formats of a few copies that libraries of the tests write, beside a small family."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import torch
from experiments.formats import family as made
from experiments.formats.page import COLUMNS, page
from experiments.formats.writers.frameworks_writer import by_torch
from experiments.formats.writers.told import place, tell
from experiments.fuzz.figures import PAGE, with_fuzzed

WRITTEN = ("torch-legacy.pth", "torch-dcp", "meta", "numpy.npz")


def trained(weights: made.Weights, seed: int, size: float) -> made.Weights:
    draw = torch.Generator().manual_seed(seed)
    return {n: w + size * torch.randn(w.shape, generator=draw) / 16 for n, w in weights.items()}


def by_gguf(weights: made.Weights, out: Path, kind: str) -> None:
    """In one of the types that the package gguf quantizes to by itself, rows as stored."""
    quantized = gguf.GGMLQuantizationType[kind]
    path = place(out, f"gguf-{kind}.gguf")
    writer = gguf.GGUFWriter(path, "none")
    values = {}
    for name, w in weights.items():
        if w.ndim == 2:
            stored = gguf.quantize(w.numpy(), quantized)
            writer.add_tensor(name, stored, raw_dtype=quantized)
            values[name] = gguf.dequantize(stored, quantized)
        else:
            writer.add_tensor(name, w.numpy())
            values[name] = w.numpy()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tell(path, "gguf", values, scheme=kind)


@pytest.mark.filterwarnings("ignore")  # of torch's, on what it writes
def test_of_a_few_copies(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = made.Llama()
    base = net.state_dict()
    parent = trained(base, 1, 0.2)
    models = {"base": base, "parent": parent, "sibling": trained(base, 2, 0.2)}
    models |= {"kid": trained(parent, 3, 0.2), "stranger": made.Llama().state_dict()}
    for name, weights in models.items():
        made.save(weights, tmp_path / "family" / name)
    out = tmp_path / "out"
    out.mkdir()
    makers = by_torch(parent, net, out)
    for name in WRITTEN:
        makers[name]()
    by_gguf(parent, out, "Q4_0")
    rows: list[str] = []
    before = f"{COLUMNS}\n|---|\n| older | by | 1 of 1 | | | | | | | |  |\n\n"
    text = page(tmp_path / "family", out, rows.append, before)
    many = len(WRITTEN) + 1
    assert len(rows) == many
    assert f"{many + 1} of {many + 1} formats: as it should be" in text, "\n".join(rows)
    assert "| older | by |" in text
    bold = {row.split(" | ")[0] for row in rows if "**" in row}
    assert not bold, "\n".join(rows)


def test_the_page_says_what_was_fuzzed() -> None:
    assert with_fuzzed(PAGE.read_text()) == PAGE.read_text()
