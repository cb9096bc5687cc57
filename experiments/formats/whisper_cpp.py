"""A model written by the description of whisper.cpp's files: whisper.cpp loads it, and what is read
of it here are its values.

pip install pywhispercpp
python -m experiments.formats.whisper_cpp
"""

from __future__ import annotations

import struct
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

from mother.checkpoints import open_checkpoint

WIDTH, LAYERS, WORDS, FREQUENCIES = 64, 4, 51864, 80
HEADER = (WORDS, 1500, WIDTH, 1, LAYERS, 448, WIDTH, 1, LAYERS, FREQUENCIES)
OWN_WORDS = 50257  # the others are marks that the program knows


def shapes() -> dict[str, tuple[int, ...]]:
    """Of all tensors of a model, as OpenAI calls them."""
    found: dict[str, tuple[int, ...]] = {
        "encoder.positional_embedding": (1500, WIDTH),
        "encoder.conv1.weight": (WIDTH, FREQUENCIES, 3),
        "encoder.conv1.bias": (WIDTH, 1),
        "encoder.conv2.weight": (WIDTH, WIDTH, 3),
        "encoder.conv2.bias": (WIDTH, 1),
        "decoder.positional_embedding": (448, WIDTH),
        "decoder.token_embedding.weight": (WORDS, WIDTH),
    }
    norms, linear = ["encoder.ln_post", "decoder.ln"], dict[str, tuple[int, ...]]()
    for part in ("encoder", "decoder"):
        attention = ("attn", "cross_attn") if part == "decoder" else ("attn",)
        for k in range(LAYERS):
            block = f"{part}.blocks.{k}"
            linear |= {f"{block}.mlp.0": (4 * WIDTH, WIDTH), f"{block}.mlp.2": (WIDTH, 4 * WIDTH)}
            norms += [f"{block}.{name}_ln" for name in (*attention, "mlp")]
            for each in (f"{block}.{name}" for name in attention):
                linear |= {f"{each}.{x}": (WIDTH, WIDTH) for x in ("query", "value", "out")}
                found[f"{each}.key.weight"] = WIDTH, WIDTH
    for name, shape in [*linear.items(), *((n, (WIDTH,)) for n in norms)]:
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found


def write(path: Path) -> dict[str, np.ndarray]:
    """Write a model of random weights; these, as they are stored."""
    rng, held = np.random.default_rng(0), dict[str, np.ndarray]()
    with path.open("wb") as out:
        out.write(b"lmgg" + struct.pack("<11i", *HEADER, 1))
        out.write(struct.pack("<2i", FREQUENCIES, 201) + bytes(4 * FREQUENCIES * 201))
        out.write(struct.pack("<i", OWN_WORDS) + (struct.pack("<i", 2) + b"ab") * OWN_WORDS)
        for name, shape in shapes().items():
            values = rng.normal(0, 0.02, shape).astype("<f4")
            half = len(shape) > 1 and not name.endswith(("bias", "positional_embedding"))
            held[name] = values.astype("<f2") if half else values
            told = struct.pack(f"<{3 + len(shape)}i", len(shape), len(name), half, *shape[::-1])
            out.write(told + name.encode() + held[name].tobytes())
    return held


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ggml-test.bin"
        held = write(path)
        import_module("pywhispercpp.model").Model(str(path))
        found = open_checkpoint(path).tensors
        assert found.keys() == held.keys()
        for key, values in held.items():
            assert found[key].shape == values.shape, key
            np.testing.assert_array_equal(found[key].read(), values.reshape(-1), key)
    print(f"whisper.cpp loads it, and {len(held)} tensors are read as they were written")


if __name__ == "__main__":
    main()
