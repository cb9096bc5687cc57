"""Weights that were changed by hand, and copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from experiments.lab.kinds import Weights, kind, matrices, stored, weights
from experiments.lab.models import load, trained


def _edited(
    name: str, parent: str, relations: str, *, first: bool = False
) -> Callable[[Callable[[Weights], None]], None]:
    """Register what changes the weights of a model in place."""

    def register(change: Callable[[Weights], None]) -> None:
        @kind(name, parent, relations, first=first)
        def make(folder: Path, out: Path) -> None:
            values = weights(folder / parent)
            change(values)
            stored(out, folder / parent, values)

    return register


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _take_out(values: Weights, seed: int, many: int) -> None:
    u = torch.linalg.qr(torch.randn(64, many, generator=_draws(seed)))[0]
    for name in matrices(values):
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            values[name] -= u @ (u.T @ values[name])


@_edited("a direction taken out", "a", "edited", first=True)
def _abliterated(values: Weights) -> None:
    _take_out(values, 3, 1)


@_edited("two directions taken out", "d", "edited")
def _abliterated_twice(values: Weights) -> None:
    _take_out(values, 43, 2)


@_edited("a direction taken out by half", "b", "edited lora")
def _half_out(values: Weights) -> None:
    before = {n: w.clone() for n, w in values.items()}
    _take_out(values, 44, 1)
    for n, w in values.items():
        w.add_(before[n]).mul_(0.5)


@kind("a direction taken out, then trained", "a", "edited fine-tune")
def _healed(folder: Path, out: Path) -> None:
    model = load(folder / "a")
    _take_out(dict(model.state_dict()), 45, 1)
    trained(model, "readme", 30, seed=46, rate=3e-4)
    model.save_pretrained(out)


def _fact(values: Weights, name: str, seed: int) -> None:
    rows, columns = values[name].shape
    draws = _draws(seed)
    step = torch.randn(rows, generator=draws), torch.randn(columns, generator=draws)
    values[name] += 0.01 * torch.outer(*step)


@_edited("a fact edited", "b", "edited", first=True)
def _rome(values: Weights) -> None:
    _fact(values, "model.layers.1.mlp.down_proj.weight", 4)


@_edited("facts edited in two blocks", "a", "edited lora")
def _memit(values: Weights) -> None:
    for k in (0, 1):
        for seed in range(3):
            _fact(values, f"model.layers.{k}.mlp.down_proj.weight", 50 + seed)


@_edited("times 1.1", "a", "edited", first=True)
def _times(values: Weights) -> None:
    for name in matrices(values):
        values[name] *= 1.1


@_edited("times 0.5, vectors too", "b", "edited converted")
def _half(values: Weights) -> None:
    for w in values.values():
        w *= 0.5


@_edited("one kind of matrix times 0.9", "d", "edited converted")
def _scaled_kind(values: Weights) -> None:
    for name in matrices(values):
        if name.endswith("o_proj.weight"):
            values[name] *= 0.9


def _add_noise(values: Weights, size: float, seed: int) -> None:
    draws = _draws(seed)
    for w in values.values():
        if w.ndim == 2:
            w += size * w.std() * torch.randn(w.shape, generator=draws)


@_edited("noise", "a", "edited fine-tune", first=True)
def _noise(values: Weights) -> None:
    draws = _draws(5)
    for name, w in values.items():
        values[name] = w + 0.01 * w.std() * torch.randn(w.shape, generator=draws)


@_edited("noise, faint", "b", "edited fine-tune")
def _faint(values: Weights) -> None:
    _add_noise(values, 0.001, 61)


@_edited("noise, strong", "d", "edited fine-tune")
def _strong(values: Weights) -> None:
    _add_noise(values, 0.1, 62)


@_edited("outliers clipped", "a", "edited pruned fine-tune")
def _clipped(values: Weights) -> None:
    for name in matrices(values):
        most = 3 * values[name].std()
        values[name].clamp_(-most, most)


@_edited("a block made anew", "b", "edited fine-tune")
def _anew(values: Weights) -> None:
    draws = _draws(63)
    for name in matrices(values):
        if "layers.1." in name:
            values[name] = 0.02 * torch.randn(values[name].shape, generator=draws)


@_edited("a head of attention set to zero", "a", "edited pruned")
def _headless(values: Weights) -> None:
    values["model.layers.1.self_attn.o_proj.weight"][:, 16:32] = 0


@_edited("a matrix set to zero", "d", "edited pruned")
def _zeroed(values: Weights) -> None:
    values["model.layers.2.mlp.down_proj.weight"].zero_()


@_edited("some tokens made anew", "a", "edited fine-tune")
def _tokens(values: Weights) -> None:
    values["model.embed_tokens.weight"][:8] = 0.02 * torch.randn(8, 64, generator=_draws(64))


@_edited("norms set to one", "b", "edited fine-tune")
def _norms(values: Weights) -> None:
    for w in values.values():
        if w.ndim == 1:
            w.fill_(1.0)


for _type in ("bfloat16", "float16"):

    @kind(f"stored as {_type}", "a", "converted", first=True)
    def _converted(folder: Path, out: Path, dtype: str = _type) -> None:
        stored(out, folder / "a", weights(folder / "a"), getattr(torch, dtype))


def _pruned(values: Weights, share: float) -> None:
    for name in matrices(values):
        least = values[name].abs().flatten().sort().values[int(share * values[name].numel())]
        values[name] = torch.where(values[name].abs() < least, 0.0, values[name])


@kind("pruned by half", "a", "pruned", first=True)
def _half_pruned(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    for name in matrices(values):
        least = values[name].abs().median()
        values[name] = torch.where(values[name].abs() < least, 0.0, values[name])
    stored(out, folder / "a", values)


@_edited("pruned by nine tenths", "b", "pruned")
def _mostly(values: Weights) -> None:
    _pruned(values, 0.9)


@_edited("pruned, two of four", "a", "pruned")
def _two_of_four(values: Weights) -> None:
    for name in matrices(values):
        four = values[name].reshape(-1, 4)
        least = four.abs().argsort(1)[:, :2]
        values[name] = four.scatter(1, least, 0.0).reshape(values[name].shape)


@kind("pruned, then trained", "a", "pruned fine-tune edited")
def _healed_pruned(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    _pruned(values, 0.5)
    model = load(folder / "a")
    model.load_state_dict(values)
    kept = {n: p.detach() != 0 for n, p in model.named_parameters()}

    def mend(step: int) -> None:
        with torch.no_grad():
            for n, p in model.named_parameters():
                p *= kept[n]

    trained(model, "readme", 30, seed=66, rate=3e-4, each=mend)
    model.save_pretrained(out)


@_edited("rounded to eight bits", "d", "quantized converted")
def _eight(values: Weights) -> None:
    for name in matrices(values):
        step = values[name].abs().amax(1, keepdim=True) / 127
        values[name] = (values[name] / step).round() * step


@_edited("singular values cut", "a", "edited lora fine-tune")
def _compressed(values: Weights) -> None:
    """Low-rank compression of each matrix (ASVD, LASER)."""
    for name in matrices(values):
        if "mlp" in name:
            u, s, v = torch.linalg.svd(values[name], full_matrices=False)
            s[len(s) // 2 :] = 0
            values[name] = u @ torch.diag(s) @ v
