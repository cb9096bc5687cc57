"""Small networks of many kinds. Each maps a batch of a task to what its loss needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10
SIDE = 12
PATCH = 3
VOCABULARY = 96
CONTEXT = 16
CODE = 16  # numbers that an image is reduced to, or made from

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}


@dataclass(frozen=True)
class Shape:
    """What a network is: kind (a key of KINDS), width, depth, activation, and whether it has
    biases."""

    kind: str
    width: int
    depth: int
    activation: str = "relu"
    bias: bool = True


class Perceptron(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        sizes = [SIDE * SIDE, *[s.width] * s.depth]
        self.layers = nn.ModuleList(nn.Linear(a, b, s.bias) for a, b in pairwise(sizes))
        self.act = ACTIVATIONS[s.activation]()
        self.head = nn.Linear(s.width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = self.act(layer(x))
        return self.head(x)


class Residual(nn.Module):
    """Blocks of norm, linear, activation, linear, around which the input goes."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.embed = nn.Linear(SIDE * SIDE, s.width, s.bias)
        self.blocks = nn.ModuleList(_mlp(s) for _ in range(s.depth))
        self.head = nn.Linear(s.width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Convolution(nn.Module):
    """Convolutions, each followed by an activation; batch norm in between if asked for."""

    def __init__(self, s: Shape, norm: bool) -> None:
        super().__init__()
        widths = [1, *[s.width] * (s.depth + 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2 if k in (1, 3) else 1, padding=1, bias=not norm)
            for k, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) if norm else nn.Identity() for b in widths[1:])
        self.act = ACTIVATIONS[s.activation]()
        self.skip = norm
        self.head = nn.Linear(s.width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = self.act(norm(convolution(x)))
            x = x + y if self.skip and x.shape == y.shape else y
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width: int, causal: bool, bias: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias) for _ in range(4))
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            f(x).view(batch, length, 4, width // 4).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.o(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, s: Shape, causal: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(s.width) if s.bias else nn.RMSNorm(s.width)
        self.attention = Attention(s.width, causal, s.bias)
        self.mlp = _mlp(s)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class VisionTransformer(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, s.width, PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.randn(1, (SIDE // PATCH) ** 2, s.width) * 0.02)
        self.blocks = nn.ModuleList(Block(s, False) for _ in range(s.depth))
        self.norm = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Transformer(nn.Module):
    """Of tokens: a decoder if causal, else an encoder."""

    def __init__(self, s: Shape, causal: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, s.width)
        self.position = nn.Embedding(CONTEXT, s.width)
        self.blocks = nn.ModuleList(Block(s, causal) for _ in range(s.depth))
        self.norm = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, VOCABULARY, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Recurrent(nn.Module):
    def __init__(self, s: Shape, cell: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, s.width)
        self.cell = cell(s.width, s.width, num_layers=s.depth, batch_first=True)
        self.head = nn.Linear(s.width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.embed(x))[0])


class Autoencoder(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        act = ACTIVATIONS[s.activation]
        self.encoder = nn.Sequential(
            nn.Linear(SIDE * SIDE, s.width), act(), nn.Linear(s.width, CODE)
        )
        self.decoder = nn.Sequential(
            nn.Linear(CODE, s.width), act(), nn.Linear(s.width, SIDE * SIDE)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x.flatten(1)))


class Adversarial(nn.Module):
    """A generator and a discriminator, as they are trained against each other."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(CODE, s.width), nn.LeakyReLU(0.2), nn.Linear(s.width, SIDE * SIDE)
        )
        self.discriminator = nn.Sequential(
            nn.Linear(SIDE * SIDE, s.width), nn.LeakyReLU(0.2), nn.Linear(s.width, 1)
        )


class Graph(nn.Module):
    """Message passing over the grid of an image's patches."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        side = SIDE // PATCH
        at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1)
        apart = (at.view(-1, 1, 2) - at.view(1, -1, 2)).abs().sum(-1)
        near = (apart <= 1).float()
        self.register_buffer("mixing", near / near.sum(1, keepdim=True), persistent=False)
        self.embed = nn.Linear(PATCH**2, s.width, s.bias)
        self.own = nn.ModuleList(nn.Linear(s.width, s.width, s.bias) for _ in range(s.depth))
        self.other = nn.ModuleList(nn.Linear(s.width, s.width, False) for _ in range(s.depth))
        self.act = ACTIVATIONS[s.activation]()
        self.head = nn.Linear(s.width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(F.unfold(x, PATCH, stride=PATCH).transpose(1, 2))
        for own, other in zip(self.own, self.other, strict=True):
            x = self.act(own(x) + other(self.mixing @ x))
        return self.head(x.mean(1))


def _mlp(s: Shape) -> nn.Sequential:
    norm = nn.LayerNorm(s.width) if s.bias else nn.RMSNorm(s.width)
    return nn.Sequential(
        norm,
        nn.Linear(s.width, 2 * s.width, s.bias),
        ACTIVATIONS[s.activation](),
        nn.Linear(2 * s.width, s.width, s.bias),
    )


#: kind: how it is made, what it learns from, and its widths and depths
KINDS: dict[str, tuple[Callable[[Shape], nn.Module], str, tuple[int, ...], tuple[int, ...]]] = {
    "perceptron": (Perceptron, "image", (48, 64, 96), (1, 2, 3)),
    "residual": (Residual, "image", (32, 48), (2, 3, 4)),
    "convolution": (lambda s: Convolution(s, False), "image", (16, 24), (2, 3)),
    "batch-norm": (lambda s: Convolution(s, True), "image", (16, 24), (3, 4)),
    "decoder": (lambda s: Transformer(s, True), "text", (32, 48), (2, 3)),
    "autoencoder": (Autoencoder, "reconstruct", (64, 96), (1,)),
    "vit": (VisionTransformer, "image", (32,), (2, 3)),
    "encoder": (lambda s: Transformer(s, False), "masked", (32, 48), (2, 3)),
    "lstm": (lambda s: Recurrent(s, nn.LSTM), "text", (32, 48), (1, 2)),
    "gru": (lambda s: Recurrent(s, nn.GRU), "text", (32, 48), (1, 2)),
    "adversarial": (Adversarial, "adversarial", (64, 96), (1,)),
    "graph": (Graph, "image", (32, 48), (2, 3)),
}

#: how matrices start: None is what torch does
INITIALIZATIONS = (None, "normal", "normal", "xavier", "orthogonal", "uniform")


def make(shape: Shape, initialization: str | None, scale: float, seed: int) -> nn.Module:
    """A network as it is before training; its matrices times `scale` of what is usual.

    >>> make(Shape("graph", 32, 2), "normal", 1.0, 0).head.weight.shape
    torch.Size([10, 32])
    """
    torch.manual_seed(seed)
    net = KINDS[shape.kind][0](shape)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1:
                fan = p[0].numel()
                if initialization == "normal":
                    nn.init.normal_(p, std=fan**-0.5)
                elif initialization == "uniform":
                    nn.init.uniform_(p, -((3 / fan) ** 0.5), (3 / fan) ** 0.5)
                elif initialization == "xavier":
                    nn.init.xavier_normal_(p)
                elif initialization == "orthogonal":
                    nn.init.orthogonal_(p)
                p *= scale
    return net
