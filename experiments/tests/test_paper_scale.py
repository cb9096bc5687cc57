"""Paper scale, with its own ids and code path, against small files on a loopback Hub."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import experiments
import numpy as np
import pytest
import torch
from loopback_hub import serve
from PIL import Image
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
    ViTMSNConfig,
    ViTMSNModel,
)

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
    "num_channels": 3,
}
DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}
MODELS = {
    "google/vit-base-patch16-224": lambda: ViTForImageClassification(ViTConfig(**SIZES)),
    "google/vit-base-patch16-224-in21k": lambda: ViTModel(ViTConfig(**SIZES)),
    "facebook/vit-mae-base": lambda: ViTMAEForPreTraining(ViTMAEConfig(**SIZES, **DECODER)),
    "facebook/dino-vitb16": lambda: ViTModel(ViTConfig(**SIZES)),
    "facebook/vit-msn-base": lambda: ViTMSNModel(ViTMSNConfig(**SIZES)),
}

SPLITS = ("ft", "lora-v")
#: the configuration made smaller, and nothing else
DRIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from experiments import scales
from experiments.build import Build, Workers
folder = Path(sys.argv[1])
smaller = replace(scales.PAPER, children=(1, 1), test_examples=100)
scales.SCALES["paper"] = smaller
with Workers(1) as workers:
    for split in sys.argv[2:]:
        Build(split, "paper", 0, folder / split, folder / "roots").run(workers)
"""


def _shard(count: int, seed: int) -> bytes:
    """Images of one colour with some noise; the colour is the class."""
    rng = np.random.default_rng(seed)
    colours = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for k in range(count):
            label = int(rng.integers(3))
            pixels = np.clip(colours[label] + rng.normal(0, 30, (40, 36, 3)), 0, 255)
            image = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(image, "png")
            for ending, content in (("cls", str(label).encode()), ("png", image.getvalue())):
                member = tarfile.TarInfo(f"s{k:07}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from experiments.vtab import TASKS

    folder = tmp_path_factory.mktemp("hub")
    for number, (id, new) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        new().save_pretrained(folder / "models" / id)
    contents = {
        "classnames.txt": b"red\ngreen\nblue\n",
        "train/nshards.txt": b"2\n",
        "train/0.tar": _shard(60, 0),
        "train/1.tar": _shard(60, 1),
        "test/nshards.txt": b"1\n",
        "test/0.tar": _shard(100, 2),
    }
    for task in TASKS:
        for name, content in contents.items():
            path = folder / "datasets" / f"clip-benchmark/wds_vtab-{task}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    with serve(folder) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def built(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of SPLITS, by a process of its own: Hugging Face's libraries ask for the address of
    the Hub once."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), *SPLITS],
        env=os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(folder / "cache")},
        cwd=Path(experiments.__file__).parents[1],
        check=True,
    )
    return folder


@pytest.mark.parametrize("split", SPLITS)
def test_builds_from_the_hub(built: Path, split: str) -> None:
    truth = json.loads((built / split / "truth.json").read_text())
    roots = {id.split("/")[1] for id in MODELS}
    assert {p for p, _ in truth["edges"]} - {c for _, c in truth["edges"]} == roots
    assert len(truth["edges"]) == 5 * 2
    records = json.loads((built / split / "records.json").read_text())["models"]
    assert all(r["accuracy"] > r["chance"] for r in records.values() if r["recipe"])
