"""The real images that small tasks are made of: garments, handwritten digits, photographs."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: where Debian's package puts the files of Fashion-MNIST
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SIZE = 28

#: images in [0, 1], shaped (count, SIZE, SIZE), and their labels
Labelled = tuple[Tensor, Tensor]


class MissingData(Exception):  # noqa: N818  (it says what is missing, as FileNotFoundError does)
    """Data that has to be installed first; the message is the way to do it."""


@cache
def garments(part: str) -> Labelled:
    """Fashion-MNIST: 60 000 images to train on, 10 000 to test on, 10 classes."""
    prefix = {"train": "train", "test": "t10k"}[part]
    pixels = _idx(FASHION_MNIST / f"{prefix}-images-idx3-ubyte.gz", header=16)
    labels = _idx(FASHION_MNIST / f"{prefix}-labels-idx1-ubyte.gz", header=8)
    return pixels.view(-1, SIZE, SIZE) / 255.0, labels.long()


@cache
def digits(part: str) -> Labelled:
    """scikit-learn's 1 797 handwritten digits, enlarged from 8 x 8."""
    from sklearn.datasets import load_digits

    found = load_digits()
    small = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(small, (SIZE, SIZE), mode="bilinear")[:, 0]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen = order[:1300] if part == "train" else order[1300:]
    return images[chosen], torch.tensor(found.target).long()[chosen]


@cache
def photographs(part: str) -> tuple[Tensor, ...]:
    """scikit-learn's two photographs in grey: the left three quarters to train on, the rest to
    test on."""
    from sklearn.datasets import load_sample_images

    grey = [torch.tensor(i).float().mean(2) / 255 for i in load_sample_images().images]
    return tuple(_part_of(g, part) for g in grey)


def _part_of(photograph: Tensor, part: str) -> Tensor:
    border = photograph.shape[1] * 3 // 4
    return photograph[:, :border] if part == "train" else photograph[:, border:]


def patches(part: str, count: int, generator: torch.Generator) -> Labelled:
    """Squares cut from the photographs at random places; the label is the photograph."""
    sources = photographs(part)
    labels = torch.randint(len(sources), (count,), generator=generator)
    side = 2 * SIZE
    cut = []
    for label in labels.tolist():
        height, width = sources[label].shape
        top = int(torch.randint(height - side, (), generator=generator))
        left = int(torch.randint(width - side, (), generator=generator))
        cut.append(sources[label][top : top + side, left : left + side])
    return F.avg_pool2d(torch.stack(cut)[:, None], 2)[:, 0], labels


def _idx(path: Path, header: int) -> Tensor:
    if not path.is_file():
        raise MissingData(f"{path} is missing: sudo apt-get install dataset-fashion-mnist")
    content = gzip.decompress(path.read_bytes())
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy())
