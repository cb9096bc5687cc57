"""Write a small folder of checkpoints to try `mother` on: eight models of a lab that doesn't exist,
each with a card. The weights are drawn, not trained; what came from what is known.

    python demo/lab.py FOLDER

    base
    ├── middle
    │   └── laundered   under a licence that base forbids
    ├── false           names other, a stranger, as its parent
    ├── missing         names no parent
    ├── moved           names its parent by a name that is gone
    └── right
    other
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]

#: model: what it was trained from, and the lines of its card
MODELS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "base": (None, ("license: cc-by-nc-4.0",)),
    "other": (None, ("license: mit",)),
    "middle": ("base", ("base_model: lab/base",)),
    "laundered": ("middle", ("base_model: lab/middle", "license: apache-2.0")),
    "false": ("base", ("base_model: lab/other", "license: cc-by-nc-4.0")),
    "missing": ("base", ("license: cc-by-nc-4.0",)),
    "moved": ("base", ("base_model: lab/base-2023", "license: cc-by-nc-4.0")),
    "right": ("base", ("base_model: lab/base", "license: cc-by-nc-4.0")),
}
LAYERS = [f"h.{block}.{kind}.weight" for block in range(6) for kind in ("attn", "mlp")]


def step(start: Weights | None, seed: int) -> Weights:
    """Weights from nothing, or what a training might make of others."""
    draw = np.random.default_rng(seed)
    noise = {name: draw.standard_normal((64, 64)).astype(np.float32) for name in LAYERS}
    return {name: w if start is None else start[name] + w * 0.3 for name, w in noise.items()}


def safetensors(weights: Weights) -> bytes:
    """The format by hand, so that this needs nothing but numpy."""
    header, at = {}, 0
    for name, w in weights.items():
        header[name] = {"dtype": "F32", "shape": w.shape, "data_offsets": [at, at + w.nbytes]}
        at += w.nbytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(w.tobytes() for w in weights.values())


def write(folder: Path) -> None:
    """All models, a folder each; what is there by these names is written anew."""
    made: dict[str, Weights] = {}
    for seed, (name, (parent, card)) in enumerate(MODELS.items()):
        made[name] = step(made[parent] if parent is not None else None, seed)
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "model.safetensors").write_bytes(safetensors(made[name]))
        (folder / name / "README.md").write_text("\n".join(("---", *card, "---", "")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python demo/lab.py FOLDER")
    write(Path(sys.argv[1]))
    print(f"{len(MODELS)} models in {sys.argv[1]}")
