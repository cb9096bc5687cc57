"""Small nets as functions of their weights, many of which are trained at once.

decoder   grouped keys, rotary positions, RMS norms, gated neurons; on text
encoder   learned positions, norms behind each part, GELU; on text, masked
vit       patches, a class token, norms before each part; on digits
cnn       three convolutions with ReLU; on digits
dense     three dense layers with ReLU; on digits
coder     three dense layers from pixels to the same pixels; on digits
recurrent a GRU, rows of an image one after the other; on digits
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import grad, vmap
from torch.nn import functional as F

Weights = dict[str, NDArray[np.float32]]
Params = dict[str, torch.Tensor]

KINDS = ("decoder", "encoder", "vit", "cnn")
WIDTH, INNER, BLOCKS, HEADS, GROUPS, HEAD = 32, 64, 2, 4, 2, 8
LETTERS, LENGTH, MASKED, CLASSES, SIDE, PATCH = 128, 32, 1, 10, 8, 2
CHANNELS, SIZES = (1, 16, 32, 32), (64, 48, 32, 10)
CODED, STATE = (64, 32, 32, 64), 24
TEXTS = {
    "licences": "share/doc/*/copyright",
    "headers": "include/*.h",
    "scripts": "share/perl*/**/*.pm",
}
_TEXT = 600_000  # letters of one text


def blank(kind: str, seed: int) -> Params:
    """A net that nothing has trained."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 0.08) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=draw)

    p: Params = {}
    if kind in ("dense", "coder"):
        for k, (i, o) in enumerate(pairwise(SIZES if kind == "dense" else CODED)):
            p[f"fc.{k}.weight"] = normal(o, i, scale=math.sqrt(2 / i))
            p[f"fc.{k}.bias"] = torch.zeros(o)
        return p
    if kind == "recurrent":
        p = {"rnn.weight_ih_l0": normal(3 * STATE, SIDE, scale=0.3)}
        p |= {"rnn.weight_hh_l0": normal(3 * STATE, STATE, scale=0.2)}
        p |= {"rnn.bias_l0": torch.zeros(3 * STATE)}
        return p | {"head.weight": normal(CLASSES, STATE), "head.bias": torch.zeros(CLASSES)}
    if kind == "cnn":
        for k, (i, o) in enumerate(pairwise(CHANNELS)):
            p[f"conv.{k}.weight"] = normal(o, i, 3, 3, scale=math.sqrt(2 / (9 * i)))
            p[f"conv.{k}.bias"] = torch.zeros(o)
        return p | {"head.weight": normal(CLASSES, CHANNELS[-1]), "head.bias": torch.zeros(CLASSES)}
    keys = (GROUPS if kind == "decoder" else HEADS) * HEAD
    p = {"embed.weight": normal(LETTERS, WIDTH)}
    if kind == "vit":
        p = {"patch.weight": normal(WIDTH, 1, PATCH, PATCH, scale=0.4), "patch.bias": normal(WIDTH)}
        p["class"] = normal(1, 1, WIDTH)
    if kind != "decoder":
        p["positions.weight"] = normal((SIDE // PATCH) ** 2 + 1 if kind == "vit" else LENGTH, WIDTH)
    for k in range(BLOCKS):
        at = f"layers.{k}."
        sizes = {"q": HEADS * HEAD, "k": keys, "v": keys}
        p |= {f"{at}{x}.weight": normal(n, WIDTH, scale=0.15) for x, n in sizes.items()}
        p[f"{at}o.weight"] = normal(WIDTH, HEADS * HEAD)
        if kind == "decoder":
            p[f"{at}gate.weight"] = normal(INNER, WIDTH, scale=0.15)
        p |= {
            f"{at}up.weight": normal(INNER, WIDTH, scale=0.15),
            f"{at}down.weight": normal(WIDTH, INNER),
        }
        p |= {f"{at}norm{n}.weight": torch.ones(WIDTH) for n in (1, 2)}
        if kind != "decoder":
            p |= {f"{at}norm{n}.bias": torch.zeros(WIDTH) for n in (1, 2)}
            sizes |= {"o": WIDTH, "up": INNER, "down": WIDTH}
            p |= {f"{at}{x}.bias": torch.zeros(n) for x, n in sizes.items()}
    p["norm.weight"] = torch.ones(WIDTH)
    if kind != "decoder":
        p["norm.bias"] = torch.zeros(WIDTH)
    return p | {"head.weight": normal(CLASSES if kind == "vit" else LETTERS, WIDTH)}


def output(kind: str, p: Params, x: torch.Tensor) -> torch.Tensor:
    """Of letters (N, T) or images (N, 8, 8): logits, (N, T, letters) or (N, classes)."""
    if kind in ("dense", "coder"):
        for k in range(len(SIZES if kind == "dense" else CODED) - 1):
            x = _linear(p, f"fc.{k}", x.flatten(1) if k == 0 else x.relu())
        return x
    if kind == "cnn":
        y = x[:, None]
        for k in range(3):
            y = F.conv2d(y, p[f"conv.{k}.weight"], p[f"conv.{k}.bias"], 1 + (k > 0), 1).relu()
        return y.mean((2, 3)) @ p["head.weight"].T + p["head.bias"]
    if kind == "recurrent":
        return _recurrent(p, x) @ p["head.weight"].T + p["head.bias"]
    if kind == "vit":
        y = (
            F.conv2d(x[:, None], p["patch.weight"], p["patch.bias"], PATCH)
            .flatten(2)
            .transpose(1, 2)
        )
        y = torch.cat([p["class"].expand(len(x), -1, -1), y], 1) + p["positions.weight"]
    else:
        y = p["embed.weight"][x]
        if kind == "encoder":
            y = y + p["positions.weight"][: x.shape[1]]
    for k in range(BLOCKS):
        at = f"layers.{k}."
        if kind == "encoder":
            y = _norm(kind, p, f"{at}norm1", y + _attention(kind, p, at, y))
            y = _norm(kind, p, f"{at}norm2", y + _neurons(kind, p, at, y))
        else:
            y = y + _attention(kind, p, at, _norm(kind, p, f"{at}norm1", y))
            y = y + _neurons(kind, p, at, _norm(kind, p, f"{at}norm2", y))
    y = _norm(kind, p, "norm", y)
    return (y[:, 0] if kind == "vit" else y) @ p["head.weight"].T


def _recurrent(p: Params, x: torch.Tensor) -> torch.Tensor:
    h = torch.zeros(len(x), STATE)
    for row in x.unbind(1):
        read = (row @ p["rnn.weight_ih_l0"].T + p["rnn.bias_l0"]).chunk(3, -1)
        own = (h @ p["rnn.weight_hh_l0"].T).chunk(3, -1)
        reset, keep = ((r + o).sigmoid() for r, o in zip(read[:2], own[:2], strict=True))
        h = keep * h + (1 - keep) * (read[2] + reset * own[2]).tanh()
    return h


def hidden_inputs(p: Params, letters: torch.Tensor) -> list[NDArray[np.float32]]:
    """What the neurons of each block of a decoder read, (N T, width)."""
    y, found = p["embed.weight"][letters], []
    for k in range(BLOCKS):
        at = f"layers.{k}."
        y = y + _attention("decoder", p, at, _norm("decoder", p, f"{at}norm1", y))
        read = _norm("decoder", p, f"{at}norm2", y)
        found.append(read.flatten(0, 1).numpy())
        y = y + _neurons("decoder", p, at, read)
    return found


def _linear(p: Params, name: str, x: torch.Tensor) -> torch.Tensor:
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def _norm(kind: str, p: Params, name: str, x: torch.Tensor) -> torch.Tensor:
    if kind == "decoder":
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * p[f"{name}.weight"]
    return F.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"])


def _attention(kind: str, p: Params, at: str, x: torch.Tensor) -> torch.Tensor:
    many, length = x.shape[:2]
    q, k, v = (
        _linear(p, at + n, x).view(many, length, -1, HEAD).transpose(1, 2) for n in ("q", "k", "v")
    )
    score_mask = torch.zeros(length, length)
    if kind == "decoder":
        q, k = _rotary(q), _rotary(k)
        k, v = (t.repeat_interleave(HEADS // GROUPS, 1) for t in (k, v))
        score_mask = torch.full((length, length), -1e9).triu(1)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(HEAD) + score_mask).softmax(-1)
    return _linear(p, at + "o", (weights @ v).transpose(1, 2).reshape(many, length, -1))


def _rotary(x: torch.Tensor) -> torch.Tensor:
    length, width = x.shape[-2:]
    angle = torch.arange(length)[:, None] * 10_000 ** (-torch.arange(0, width, 2) / width)
    one, two = x[..., : width // 2], x[..., width // 2 :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)


def _neurons(kind: str, p: Params, at: str, x: torch.Tensor) -> torch.Tensor:
    up = _linear(p, at + "up", x)
    inner = F.silu(_linear(p, at + "gate", x)) * up if kind == "decoder" else F.gelu(up)
    return _linear(p, at + "down", inner)


def text(name: str) -> torch.Tensor:
    """Letters of the files of a Debian system."""
    held = b""
    for path in sorted(Path("/usr").glob(TEXTS[name])):
        held += path.read_bytes()[:30_000]
        if len(held) > _TEXT:
            break
    return torch.tensor(np.frombuffer(held, np.uint8).astype(np.int64) % LETTERS)


def trained(
    kind: str, starts: Sequence[Params], steps: int, rate: float, seed: int, *, on: str = "licences"
) -> list[Weights]:
    """All nets trained at once, each on batches of its own, by Adam; the rate falls to a tenth."""
    draw = torch.Generator().manual_seed(seed)
    p = {n: torch.stack([torch.as_tensor(s[n]) for s in starts]) for n in starts[0]}
    mean, square = ({n: torch.zeros_like(v) for n, v in p.items()} for _ in range(2))

    def loss(own: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        told = output(kind, own, x)
        if kind == "coder":
            return F.mse_loss(told, x.flatten(1))
        return F.cross_entropy(told.flatten(0, -2), y.flatten())

    slope = vmap(grad(loss))
    for k, (x, y) in enumerate(_batches(kind, len(starts), steps, draw, on), 1):
        found = slope(p, x, y)
        now = rate * (0.1 + 0.9 * (1 - k / steps))
        for n, g in found.items():
            mean[n] = 0.9 * mean[n] + 0.1 * g
            square[n] = 0.99 * square[n] + 0.01 * g * g
            step = (mean[n] / (1 - 0.9**k)) / ((square[n] / (1 - 0.99**k)).sqrt() + 1e-8)
            p[n] = p[n] - now * step
    return [{n: v[k].numpy() for n, v in p.items()} for k in range(len(starts))]


def _batches(
    kind: str, many: int, steps: int, draw: torch.Generator, on: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    if kind not in ("decoder", "encoder"):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.tensor(digits.images / 16 - 0.3, dtype=torch.float32)
        labels = torch.tensor(digits.target)
        if on != "licences":  # another task on the same images
            labels = (labels * 3 + list(TEXTS).index(on)) % CLASSES
        for _ in range(steps):
            some = torch.randint(0, len(images), (many, 16), generator=draw)
            yield images[some], labels[some]
        return
    letters = text(on)
    for _ in range(steps):
        at = torch.randint(0, len(letters) - LENGTH - 1, (many, 4), generator=draw)
        window = letters[at[..., None] + torch.arange(LENGTH + 1)]
        if kind == "decoder":
            yield window[..., :-1], window[..., 1:]
        else:
            whole = window[..., 1:]
            hide = torch.rand(whole.shape, generator=draw) < 0.2
            yield whole.masked_fill(hide, MASKED), whole
