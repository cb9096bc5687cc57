"""What a network is trained to do: name classes, or learn from images without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, ViTMAEConfig, ViTMAEForPreTraining

from experiments.tasks import Examples


def inputs(examples: Examples) -> Tensor:
    """What the network sees: images scaled to [-1, 1], tokens as they are."""
    x = examples.inputs
    return x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x


class Objective(nn.Module):
    """A loss for batches. `model` is what a checkpoint holds; parameters beside it are thrown
    away after training. `progress` runs from 0 to 1 over a training run."""

    #: whether the model's head is trained, and saved
    trains_head = True
    model: Any

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Examples) -> Tensor:
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Update what no gradient trains."""

    def export(self) -> Any:
        """The model as a checkpoint holds it."""
        return self.model

    @torch.no_grad()
    def accuracy(self, train: Examples, test: Examples) -> float:
        """Share of labels of `test` that are predicted right."""
        device = next(self.parameters()).device
        guesses = [self.model(inputs(b)).logits.argmax(-1).cpu() for b in batches(test, device)]
        return float((torch.cat(guesses) == test.labels).float().mean())


class Classification(Objective):
    """Cross-entropy of images' classes, or of each next token."""

    def forward(self, batch: Examples) -> Tensor:
        logits = self.model(inputs(batch)).logits
        return F.cross_entropy(logits.flatten(0, -2), batch.labels.flatten())


class AugmentedClassification(Classification):
    """The same on images that are cropped, and of various contrast."""

    def forward(self, batch: Examples) -> Tensor:
        logits = self.model(_view(inputs(batch), smallest=0.8)).logits
        return F.cross_entropy(logits, batch.labels)


class SelfSupervision(Objective):
    """Objectives that need no labels; judged by a linear probe of their features."""

    trains_head = False

    @torch.no_grad()
    def accuracy(self, train: Examples, test: Examples) -> float:
        known = train[torch.arange(min(len(train), 5000))]
        x, asked = self._features(known), self._features(test)
        wanted = F.one_hot(known.labels, known.classes).double()
        ridge = 10 * torch.eye(x.shape[1], dtype=x.dtype)
        weights = torch.linalg.solve(x.T @ x + ridge, x.T @ wanted)
        return float(((asked @ weights).argmax(1) == test.labels).float().mean())

    def _features(self, examples: Examples) -> Tensor:
        """The class token after the last norm, and a constant."""
        vit = self.export().vit
        device = next(self.parameters()).device
        found = [vit(inputs(b)).last_hidden_state[:, 0].cpu() for b in batches(examples, device)]
        return F.pad(torch.cat(found).double(), (0, 1), value=1.0)


class MaskedAutoencoder(SelfSupervision):
    """Reconstruct the patches that are hidden from the encoder (He et al. 2022)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        size = model.config
        config = ViTMAEConfig(
            **{k: v for k, v in size.to_dict().items() if k in _SIZES},
            decoder_hidden_size=size.hidden_size,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=size.num_attention_heads,
            decoder_intermediate_size=size.intermediate_size,
            mask_ratio=0.6,
        )
        self.autoencoder = ViTMAEForPreTraining(config)
        model.vit.requires_grad_(False)

    def forward(self, batch: Examples) -> Tensor:
        loss: Tensor = self.autoencoder(inputs(batch)).loss
        return loss

    def export(self) -> Any:
        self.model.vit.load_state_dict(self.autoencoder.vit.state_dict())
        return self.model


_SIZES = frozenset(
    {
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "image_size",
        "patch_size",
        "num_channels",
        "initializer_range",
    }
)


class _Distillation(SelfSupervision):
    """A student that follows a teacher, which is the student's moving average."""

    outputs = 128
    teacher: Any

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        width = model.config.hidden_size
        self.projection = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 64))
        self.prototypes = nn.Linear(64, self.outputs, bias=False)
        students: list[Any] = [model.vit, self.projection, self.prototypes]
        self.teacher = nn.ModuleList(map(copy.deepcopy, students)).requires_grad_(False)

    def student_scores(self, images: Tensor, keep: float = 1.0) -> Tensor:
        """Cosines of the images with the prototypes; only a share of the patches is seen."""
        return _scores(self.model.vit, self.projection, self.prototypes, images, keep)

    @torch.no_grad()
    def teacher_scores(self, images: Tensor) -> Tensor:
        vit, projection, prototypes = self.teacher
        return _scores(vit, projection, prototypes, images)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        momentum = 1 - 0.008 * (1 + math.cos(math.pi * progress)) / 2
        students: list[Any] = [self.model.vit, self.projection, self.prototypes]
        for slow, fast in zip(self.teacher, students, strict=True):
            for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                a.lerp_(b, 1 - momentum)


class SelfDistillation(_Distillation):
    """Give one answer to different crops of an image, in the manner of DINO (Caron et al. 2021):
    the teacher sees the two large crops, the student also two small ones; its answers are centred
    and sharpened."""

    centre: Tensor

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.register_buffer("centre", torch.zeros(self.outputs))

    def forward(self, batch: Examples) -> Tensor:
        images = inputs(batch)
        large = [_view(images, smallest=0.75) for _ in range(2)]
        small = [_view(images, smallest=0.5, largest=0.75) for _ in range(2)]
        scores = [self.teacher_scores(view) for view in large]
        targets = [((s - self.centre) / 0.04).softmax(1) for s in scores]
        with torch.no_grad():
            self.centre.lerp_(torch.cat(scores).mean(0), 0.1)
        student = [(self.student_scores(view) / 0.1).log_softmax(1) for view in large + small]
        pairs = [(t, s) for i, t in enumerate(targets) for j, s in enumerate(student) if i != j]
        return torch.stack([-(t * s).sum(1).mean() for t, s in pairs]).mean()


class MaskedSiamese(_Distillation):
    """Give an image of which half the patches are hidden the answer that the whole of another
    view gets, in the manner of MSN (Assran et al. 2022), and use all answers alike."""

    def forward(self, batch: Examples) -> Tensor:
        images = inputs(batch)
        targets = (self.teacher_scores(_view(images, smallest=0.75)) / 0.025).softmax(1)
        anchors = (self.student_scores(_view(images, smallest=0.75), keep=0.5) / 0.1).softmax(1)
        mean = anchors.mean(0)
        entropy = -(mean * (mean + 1e-8).log()).sum()
        return -(targets * (anchors + 1e-8).log()).sum(1).mean() - entropy


OBJECTIVES: dict[str, type[Objective]] = {
    "classification": Classification,
    "augmented-classification": AugmentedClassification,
    "masked-autoencoding": MaskedAutoencoder,
    "self-distillation": SelfDistillation,
    "masked-siamese": MaskedSiamese,
}


def batches(examples: Examples, device: torch.device, size: int = 250) -> Iterator[Examples]:
    """The examples in order, a few at a time."""
    for start in range(0, len(examples), size):
        yield examples[torch.arange(start, min(start + size, len(examples)))].to(device)


def _scores(
    vit: Any, projection: nn.Module, prototypes: nn.Linear, images: Tensor, keep: float = 1.0
) -> Tensor:
    tokens = vit.embeddings(images)
    if keep < 1:
        tokens = _some_patches(tokens, keep)
    for layer in vit.layers:
        tokens = layer(tokens)
    projected = F.normalize(projection(vit.layernorm(tokens)[:, 0]), dim=1)
    return projected @ F.normalize(prototypes.weight, dim=1).T


def _some_patches(tokens: Tensor, share: float) -> Tensor:
    """The class token and a random share of the others."""
    count, length, width = tokens.shape
    kept = torch.rand(count, length - 1).argsort(1)[:, : round(share * (length - 1))] + 1
    kept = torch.cat([torch.zeros(count, 1, dtype=torch.long), kept], 1).to(tokens.device)
    return tokens.gather(1, kept[:, :, None].expand(-1, -1, width))


def _view(images: Tensor, smallest: float, largest: float = 1.0) -> Tensor:
    """Each image cropped to a random share of its sides, and of a random contrast."""
    count = len(images)
    scale = torch.empty(count).uniform_(smallest, largest)
    shift = (torch.rand(count, 2) * 2 - 1) * (1 - scale)[:, None]
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = scale, scale, shift
    grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    seen = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast = torch.empty(count, 1, 1, 1).uniform_(0.6, 1.4).to(images.device)
    return (seen + 1) * contrast - 1
