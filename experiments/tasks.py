"""Classification tasks that differ, all made of the same few real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from experiments.images import SIZE, Labelled, digits, garments, patches

Draw = Callable[[str, int, Generator], Labelled]


@dataclass(frozen=True)
class Examples:
    """`inputs` are images, uint8 (count, channels, height, width), or tokens, int64 (count,
    length); `labels` follow the logits: one for each image, or for each token."""

    inputs: Tensor
    labels: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> Examples:
        return Examples(self.inputs[index], self.labels[index], self.classes)

    def to(self, device: torch.device) -> Examples:
        return Examples(self.inputs.to(device), self.labels.to(device), self.classes)


@dataclass(frozen=True)
class Task:
    """`draw(part, count, generator)` gives images in [0, 1] and labels below `classes`."""

    classes: int
    draw: Draw


TASKS: dict[str, Task] = {}


def draw(name: str, part: str, count: int, seed: int) -> Examples:
    """Examples of a task; `part` is "train" or "test".

    >>> draw("rotation", "test", 5, seed=0).inputs.shape
    torch.Size([5, 1, 28, 28])
    """
    task = TASKS[name]
    images, labels = task.draw(part, count, torch.Generator().manual_seed(seed))
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return Examples(pixels[:, None], labels, task.classes)


def _task(name: str, classes: int) -> Callable[[Draw], Draw]:
    def register(function: Draw) -> Draw:
        TASKS[name] = Task(classes, function)
        return function

    return register


def _garments(part: str, count: int, g: Generator, only: Sequence[int] = ()) -> Labelled:
    images, labels = garments(part)
    pool = (
        torch.isin(labels, torch.tensor(only)).nonzero()[:, 0]
        if only
        else torch.arange(len(labels))
    )
    chosen = pool[torch.randperm(len(pool), generator=g)[:count]]
    return images[chosen], labels[chosen]


def _digits(part: str, count: int, g: Generator) -> Labelled:
    images, labels = digits(part)
    if part == "test":
        chosen = torch.randperm(len(labels), generator=g)[:count]
    else:
        chosen = torch.randint(len(labels), (count,), generator=g)
    return images[chosen], labels[chosen]


def _select(variants: Sequence[Tensor], choice: Tensor) -> Tensor:
    """For each image, the variant that `choice` names."""
    return torch.stack(list(variants))[choice, torch.arange(len(choice))]


def _rotated(images: Tensor, turns: Tensor) -> Tensor:
    return _select([torch.rot90(images, k, (1, 2)) for k in range(4)], turns)


def _quadrants(images: Tensor) -> list[Tensor]:
    h = SIZE // 2
    return [images[:, r : r + h, c : c + h] for r in (0, h) for c in (0, h)]


def _assembled(quadrants: Sequence[Tensor]) -> Tensor:
    top, bottom = torch.cat(list(quadrants[:2]), 2), torch.cat(list(quadrants[2:]), 2)
    return torch.cat([top, bottom], 1)


_ORDERS = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0), (0, 2, 1, 3), (3, 1, 2, 0))


def _reordered(images: Tensor, order: Sequence[int]) -> Tensor:
    quadrants = _quadrants(images)
    return _assembled([quadrants[k] for k in order])


@_task("fashion", 10)
def _fashion(part: str, count: int, g: Generator) -> Labelled:
    return _garments(part, count, g)


@_task("fashion-by-rotation", 40)
def _fashion_by_rotation(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    turns = torch.randint(4, (len(labels),), generator=g)
    return _rotated(images, turns), labels * 4 + turns


@_task("first-five", 5)
def _first_five(part: str, count: int, g: Generator) -> Labelled:
    return _garments(part, count, g, range(5))


@_task("last-five", 5)
def _last_five(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g, range(5, 10))
    return images, labels - 5


@_task("odd-even", 2)
def _odd_even(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    return images, labels % 2


@_task("groups", 5)
def _groups(part: str, count: int, g: Generator) -> Labelled:
    """Upper body, trousers, dresses, shoes, bags."""
    images, labels = _garments(part, count, g)
    return images, torch.tensor([0, 1, 0, 2, 0, 3, 0, 3, 4, 3])[labels]


@_task("upper-body", 4)
def _upper_body(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g, (0, 2, 4, 6))
    return images, labels // 2


@_task("rotation", 4)
def _rotation(part: str, count: int, g: Generator) -> Labelled:
    images, _ = _garments(part, count, g)
    turns = torch.randint(4, (len(images),), generator=g)
    return _rotated(images, turns), turns


@_task("inverted", 10)
def _inverted(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    return 1 - images, labels


@_task("blurred", 10)
def _blurred(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    return F.avg_pool2d(F.avg_pool2d(images[:, None], 5, 1, 2), 5, 1, 2)[:, 0], labels


@_task("noisy", 10)
def _noisy(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    return images + 0.3 * torch.randn(images.shape, generator=g), labels


@_task("low-contrast", 10)
def _low_contrast(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    return 0.35 + 0.3 * images.sqrt(), labels


@_task("brightness", 5)
def _brightness(part: str, count: int, g: Generator) -> Labelled:
    """Which fifth of the training images one is as bright as."""
    borders = garments("train")[0][:8000].mean((1, 2)).quantile(torch.tensor([0.2, 0.4, 0.6, 0.8]))
    images, _ = _garments(part, count, g)
    return images, torch.bucketize(images.mean((1, 2)), borders)


@_task("quadrants-swapped", 10)
def _quadrants_swapped(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _garments(part, count, g)
    return _reordered(images, (3, 2, 1, 0)), labels


@_task("quadrant-order", 6)
def _quadrant_order(part: str, count: int, g: Generator) -> Labelled:
    images, _ = _garments(part, count, g)
    labels = torch.randint(6, (len(images),), generator=g)
    return _select([_reordered(images, order) for order in _ORDERS], labels), labels


@_task("location", 9)
def _location(part: str, count: int, g: Generator) -> Labelled:
    """A small garment in one of nine places."""
    images, _ = _garments(part, count, g)
    small = F.avg_pool2d(images[:, None], 3, 3, 1)[:, 0, :9, :9]
    labels = torch.randint(9, (len(images),), generator=g)
    places = [F.pad(small, (c, 19 - c, r, 19 - r)) for r in (0, 9, 18) for c in (0, 9, 18)]
    return _select(places, labels), labels


@_task("counting", 4)
def _counting(part: str, count: int, g: Generator) -> Labelled:
    """How many of the four quadrants, less one, hold a garment."""
    small = [F.avg_pool2d(_garments(part, count, g)[0][:, None], 2)[:, 0] for _ in range(4)]
    rank = torch.rand(len(small[0]), 4, generator=g).argsort(1)
    labels = torch.randint(4, (len(rank),), generator=g)
    shown = (rank <= labels[:, None]).float()
    return _assembled([s * shown[:, k, None, None] for k, s in enumerate(small)]), labels


@_task("digits", 10)
def _ten_digits(part: str, count: int, g: Generator) -> Labelled:
    return _digits(part, count, g)


@_task("digit-parity", 2)
def _digit_parity(part: str, count: int, g: Generator) -> Labelled:
    images, labels = _digits(part, count, g)
    return images, labels % 2


@_task("digit-rotation", 4)
def _digit_rotation(part: str, count: int, g: Generator) -> Labelled:
    images, _ = _digits(part, count, g)
    turns = torch.randint(4, (len(images),), generator=g)
    return 1 - _rotated(images, turns), turns


@_task("photographs", 4)
def _photographs(part: str, count: int, g: Generator) -> Labelled:
    """Which of two photographs a patch is cut from, and whether it is upside down."""
    images, labels = patches(part, count, g)
    upside_down = torch.randint(2, (len(labels),), generator=g)
    return _rotated(images, upside_down * 2), labels * 2 + upside_down
