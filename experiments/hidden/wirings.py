"""Nets of many wirings, and the same under other labels.

Axes of a tensor are None, whose labels stay, or the name of the units that lie along it; "3 h" are
three times the units h, "a + b" units joined, "4 x 8 h" four heads of eight channels, of which the
heads move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

Weights = dict[str, NDArray[np.float32]]
Order = NDArray[np.intp]
Axes = Mapping[str, tuple[str | None, ...]]
#: a norm's tensors
NORM, BATCH = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Wiring:
    """A net, which units lie along the axes of its tensors, and its loss on images and labels.
    experts: names of what stands in any order, with # for their number, and their number."""

    net: Callable[[], nn.Module]
    axes: Axes
    loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
    experts: tuple[str, int] = ("", 0)


def _classes(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(net(x), y)


def _layer(name: str, out: str | None, into: str | None) -> dict[str, tuple[str | None, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, units: str, held: tuple[str, ...] = NORM) -> dict[str, tuple[str | None]]:
    return {f"{name}.{x}": (units,) for x in held}


class Recurrent(nn.Module):
    """Rows of an image one after the other."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = cell(8, 32, 2, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def _recurrent(cell: type[nn.RNNBase], gates: int) -> Wiring:
    axes: dict[str, tuple[str | None, ...]] = {"head.weight": (None, "h1")}
    for k in (0, 1):
        units = f"{gates} h{k}"
        axes |= {
            f"rnn.weight_ih_l{k}": (units, "h0" if k else None),
            f"rnn.weight_hh_l{k}": (units, f"h{k}"),
            f"rnn.bias_ih_l{k}": (units,),
            f"rnn.bias_hh_l{k}": (units,),
        }
    return Wiring(lambda: Recurrent(cell), axes, _classes)


class Graph(nn.Module):
    """Pixels pass on to their neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Linear(3, 48), nn.Linear(48, 48)
        self.c3, self.out = nn.Linear(48, 32), nn.Linear(32, 10)
        x, y = torch.arange(64) % 8, torch.arange(64) // 8
        near = ((x[:, None] - x).abs() + (y[:, None] - y).abs() <= 1).float()
        self.near, self.at = near / near.sum(1, keepdim=True), torch.stack([x, y], 1) / 4 - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.cat([x.flatten(1)[..., None], self.at.expand(len(x), 64, 2)], -1)
        for layer in (self.c1, self.c2, self.c3):
            h = F.relu(self.near @ layer(h))
        return self.out(h.mean(1))


_GRAPH = {
    **_layer("c1", "a", None),
    **_layer("c2", "b", "a"),
    **_layer("c3", "c", "b"),
    "out.weight": (None, "c"),
}


class UNet(nn.Module):
    """Takes noise away; what goes down is joined to what comes up."""

    def __init__(self) -> None:
        super().__init__()

        def conv(i: int, o: int) -> nn.Module:
            return nn.Conv2d(i, o, 3, padding=1)

        self.e1, self.e1b, self.e2, self.e2b = conv(1, 16), conv(16, 16), conv(16, 32), conv(32, 32)
        self.mid = conv(32, 48)
        self.u2 = nn.ConvTranspose2d(48, 32, 2, 2)
        self.d2 = conv(64, 32)
        self.u1 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.d1, self.out = conv(32, 16), nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.e1b(F.relu(self.e1(x[:, None]))))
        b = F.relu(self.e2b(F.relu(self.e2(F.max_pool2d(a, 2)))))
        h = self.u2(F.relu(self.mid(F.max_pool2d(b, 2))))
        h = self.u1(F.relu(self.d2(torch.cat([b, h], 1))))
        return self.out(F.relu(self.d1(torch.cat([a, h], 1))))[:, 0]


_UNET = {
    **_layer("e1", "a", None),
    **_layer("e1b", "b", "a"),
    **_layer("e2", "c", "b"),
    **_layer("e2b", "d", "c"),
    **_layer("mid", "m", "d"),
    "u2.weight": ("m", "u"),
    "u2.bias": ("u",),
    **_layer("d2", "x", "d + u"),
    "u1.weight": ("x", "v"),
    "u1.bias": ("v",),
    **_layer("d1", "y", "b + v"),
    "out.weight": (None, "y"),
}


def _denoised(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(net(x + 0.5 * torch.randn_like(x)), x)


class Residual(nn.Module):
    """Three blocks with batch norm, of which the second one halves images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.ModuleList()
        for i, o in ((16, 16), (16, 32), (32, 32)):
            block = nn.Module()
            block.conv1 = nn.Conv2d(i, o, 3, 1 if i == o else 2, 1, bias=False)
            block.bn1 = nn.BatchNorm2d(o)
            block.conv2, block.bn2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
            if i != o:
                block.down, block.bnd = nn.Conv2d(i, o, 1, 2, bias=False), nn.BatchNorm2d(o)
            self.blocks.append(block)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.bn(self.stem(x[:, None])))
        for b in self.blocks:
            y = b.bn2(b.conv2(F.relu(b.bn1(b.conv1(h)))))
            h = F.relu(y + (b.bnd(b.down(h)) if hasattr(b, "down") else h))
        return self.fc(h.mean((2, 3)))


_RESIDUAL: dict[str, tuple[str | None, ...]] = {
    "stem.weight": ("s", None),
    **_norm("bn", "s", BATCH),
    "blocks.1.down.weight": ("t", "s"),
    **_norm("blocks.1.bnd", "t", BATCH),
    "fc.weight": (None, "t"),
}
for _k, (_i, _o) in enumerate((("s", "s"), ("s", "t"), ("t", "t"))):
    _at = f"blocks.{_k}."
    _RESIDUAL |= {f"{_at}conv1.weight": (f"i{_k}", _i), f"{_at}conv2.weight": (_o, f"i{_k}")}
    _RESIDUAL |= {**_norm(f"{_at}bn1", f"i{_k}", BATCH), **_norm(f"{_at}bn2", _o, BATCH)}


class Adversarial(nn.Module):
    """One that draws images, and one that tells them from true ones."""

    def __init__(self) -> None:
        super().__init__()
        n, relu, leaky = nn.Linear, nn.ReLU, lambda: nn.LeakyReLU(0.2)
        self.G = nn.Sequential(n(16, 64), relu(), n(64, 96), relu(), n(96, 64), nn.Tanh())
        self.D = nn.Sequential(n(64, 96), leaky(), n(96, 48), leaky(), n(48, 1))


_ADVERSARIAL = {
    **_layer("G.0", "a", None),
    **_layer("G.2", "b", "a"),
    "G.4.weight": (None, "b"),
    **_layer("D.0", "c", None),
    **_layer("D.2", "d", "c"),
    "D.4.weight": (None, "d"),
}


def _played(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    fake, loss = net.G(torch.randn(len(x), 16)), F.binary_cross_entropy_with_logits
    one, zero = torch.ones(len(x), 1), torch.zeros(len(x), 1)
    told = loss(net.D(x.flatten(1)), one) + loss(net.D(fake.detach()), zero)
    for p in net.D.parameters():
        p.requires_grad_(False)
    drawn = loss(net.D(fake), one)
    for p in net.D.parameters():
        p.requires_grad_(True)
    return told + drawn


class Mixture(nn.Module):
    """Two layers of six experts each."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.layers = nn.Linear(64, 32), nn.ModuleList()
        for _ in range(2):
            layer = nn.Module()
            layer.router, layer.experts = nn.Linear(32, 6, bias=False), nn.ModuleList()
            for _ in range(6):
                expert = nn.Module()
                expert.up, expert.down = nn.Linear(32, 40), nn.Linear(40, 32)
                layer.experts.append(expert)
            self.layers.append(layer)
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.inp(x.flatten(1))
        for layer in self.layers:
            share = layer.router(h).softmax(-1)
            each = [e.down(F.relu(e.up(h))) for e in layer.experts]
            h = h + (share[:, None] @ torch.stack(each, 1))[:, 0]
        return self.out(h)


_MIXTURE: dict[str, tuple[str | None, ...]] = {
    **_layer("inp", "s", None),
    "out.weight": (None, "s"),
}
for _l in range(2):
    _MIXTURE |= {f"layers.{_l}.router.weight": (f"x{_l}", "s")}
    for _k in range(6):
        _at = f"layers.{_l}.experts.{_k}."
        _MIXTURE |= {**_layer(f"{_at}up", _at, "s"), **_layer(f"{_at}down", "s", _at)}


class Joined(nn.Module):
    """Each layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.c0 = nn.Conv2d(1, 16, 3, padding=1)
        self.c = nn.ModuleList(nn.Conv2d(16 + 12 * k, 12, 3, padding=1) for k in range(3))
        self.fc = nn.Linear(52, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.c0(x[:, None]))
        for conv in self.c:
            h = torch.cat([h, F.relu(conv(h))], 1)
        return self.fc(h.mean((2, 3)))


_JOINED = {
    **_layer("c0", "a", None),
    **_layer("c.0", "b", "a"),
    **_layer("c.1", "c", "a + b"),
    **_layer("c.2", "d", "a + b + c"),
    "fc.weight": (None, "a + b + c + d"),
}


class Fused(nn.Module):
    """torch's own transformer, of which one matrix holds queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.pos = nn.Linear(4, 32), nn.Parameter(0.1 * torch.randn(1, 16, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = F.unfold(x[:, None], 2, stride=2).transpose(1, 2)
        return self.head(self.enc(self.patch(patches) + self.pos).mean(1))


_FUSED = {**_layer("patch", "s", None), "pos": (None, None, "s"), "head.weight": (None, "s")}
for _k in range(2):
    _at, _heads = f"enc.layers.{_k}.", f"4 x 8 A{_k}"
    _FUSED |= {
        f"{_at}self_attn.in_proj_weight": (f"3 {_heads}", "s"),
        f"{_at}self_attn.in_proj_bias": (f"3 {_heads}",),
        **_layer(f"{_at}self_attn.out_proj", "s", _heads),
        **_norm(f"{_at}norm1", "s"),
        **_norm(f"{_at}norm2", "s"),
        **_layer(f"{_at}linear1", f"f{_k}", "s"),
        **_layer(f"{_at}linear2", "s", f"f{_k}"),
    }

WIRINGS = {
    "RNN": _recurrent(nn.RNN, 1),
    "GRU": _recurrent(nn.GRU, 3),
    "LSTM": _recurrent(nn.LSTM, 4),
    "graph network": Wiring(Graph, _GRAPH, _classes),
    "U-Net": Wiring(UNet, _UNET, _denoised),
    "ResNet, batch norm": Wiring(Residual, _RESIDUAL, _classes),
    "GAN": Wiring(Adversarial, _ADVERSARIAL, _played),
    "mixture of experts": Wiring(Mixture, _MIXTURE, _classes, ("layers.{}.experts.#.", 6)),
    "DenseNet": Wiring(Joined, _JOINED, _classes),
    "fused transformer": Wiring(Fused, _FUSED, _classes),
}


def trained(
    kind: str,
    seed: int,
    start: Weights | None = None,
    *,
    steps: int = 150,
    rate: float = 3e-3,
    task: int = 0,
) -> Weights:
    """A net on scikit-learn's digits by Adam, with other classes for each task."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)
    labels = torch.tensor((digits.target * (3 if task else 1) + task) % 10)
    torch.manual_seed(seed)
    net = WIRINGS[kind].net()
    if start is not None:
        net.load_state_dict({n: torch.tensor(w) for n, w in start.items()})
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        some = torch.randint(0, len(images), (64,))
        optimizer.zero_grad()
        WIRINGS[kind].loss(net, images[some], labels[some]).backward()
        optimizer.step()
    return {n: w.detach().numpy().copy() for n, w in net.state_dict().items()}


def relabelled(kind: str, weights: Weights, seed: int) -> Weights:
    """All units in another order, and experts."""
    draw, wiring = np.random.default_rng(seed), WIRINGS[kind]
    sizes: dict[str, int] = {}
    for name, axes in wiring.axes.items():
        for axis, units in zip(axes, weights[name].shape, strict=False):
            if axis is not None and " " not in axis:
                sizes[axis] = units
    orders = {units: draw.permutation(many) for units, many in sorted(sizes.items())}

    def order(axis: str | None, many: int) -> Order:
        if axis is None:
            return np.arange(many)
        if " + " in axis:
            each = [orders[units] for units in axis.split(" + ")]
            starts = np.cumsum([0, *map(len, each)])
            return np.concatenate([o + s for o, s in zip(each, starts, strict=False)])
        if axis.split()[0].isdigit() and axis.split()[1] != "x":
            times, _, units = axis.partition(" ")
            own = order(units, many // int(times))
            return np.concatenate([own + k * len(own) for k in range(int(times))])
        if " x " in axis:
            heads, _, width, units = axis.split()
            moved = orders.setdefault(units, draw.permutation(int(heads)))
            return np.arange(many).reshape(-1, int(width))[moved].ravel()
        return orders[axis]

    out = dict(weights)
    for name, axes in wiring.axes.items():
        values = weights[name]
        for k, axis in enumerate(axes):
            values = np.take(values, order(axis, values.shape[k]), k)
        out[name] = values
    pattern, many = wiring.experts
    moved = dict(out)
    for layer in range(2 if many else 0):
        for k, source in enumerate(orders[f"x{layer}"]):
            here, there = (pattern.format(layer).replace("#", str(x)) for x in (k, source))
            own = [n for n in moved if n.startswith(there)]
            out |= {here + n.removeprefix(there): moved[n] for n in own}
    return {n: np.ascontiguousarray(w) for n, w in out.items()}
