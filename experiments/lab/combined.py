"""Two steps, one after the other, of which the model between is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from experiments.lab.adapters import LORA, adapted
from experiments.lab.edited import _pruned
from experiments.lab.kinds import BESIDE, Weights, kind, matrices, stored, weights
from experiments.lab.models import blank, distil, load, trained
from experiments.lab.reshaped import _expanded, _fewer_heads, _fewer_neurons, _shaped

Change = Callable[[Weights], None]
ANY = "fine-tune continuation edited pruned quantized lora"


def _rounded(values: Weights, bits: int) -> None:
    for name in matrices(values):
        step = values[name].abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        values[name] = (values[name] / step).round() * step


def _ternary(values: Weights) -> None:
    """BitNet b1.58."""
    for name in matrices(values):
        size = values[name].abs().mean()
        values[name] = (values[name] / size).round().clamp(-1, 1) * size


def _permuted(values: Weights) -> None:
    draws = torch.Generator().manual_seed(110)
    for k in range(3):
        order, mlp = torch.randperm(160, generator=draws), f"model.layers.{k}.mlp"
        for side in ("gate_proj", "up_proj"):
            values[f"{mlp}.{side}.weight"] = values[f"{mlp}.{side}.weight"][order]
        values[f"{mlp}.down_proj.weight"] = values[f"{mlp}.down_proj.weight"][:, order]


def _two_thirds(values: Weights) -> None:
    fresh = blank(111).state_dict()
    for name in values:
        if "layers.1." in name or "layers.2." in name:
            values[name] = fresh[name]


def _attention(values: Weights) -> None:
    fresh = blank(112).state_dict()
    for name in values:
        if "self_attn" in name:
            values[name] = fresh[name]


def _then_trained(
    name: str, parent: str, change: Change, steps: int = 30, rate: float = 3e-4
) -> None:
    @kind(name, parent, ANY, last=True)
    def make(folder: Path, out: Path) -> None:
        model = load(folder / parent)
        values = weights(folder / parent)
        change(values)
        model.load_state_dict(values)
        trained(model, "readme", steps, seed=101, rate=rate)
        model.save_pretrained(out)


_then_trained("rounded to four bits, then trained", "a", lambda v: _rounded(v, 4))
_then_trained("rounded to three values, then trained", "b", _ternary)
_then_trained("pruned by half, then trained whole", "a", lambda v: _pruned(v, 0.5))
_then_trained("pruned by eight tenths, then trained whole", "d", lambda v: _pruned(v, 0.8), 60)
_then_trained("neurons permuted, then trained", "a", _permuted)
_then_trained("two blocks of three made anew, trained", "b", _two_thirds, 60, 1e-3)
_then_trained("attention made anew, trained", "d", _attention, 60, 1e-3)
_then_trained("at a large rate", "a", lambda v: None, 60, 1e-2)
_then_trained("at a very large rate", "b", lambda v: None, 60, 5e-2)


def _trained_then(name: str, parent: str, change: Change) -> None:
    @kind(name, parent, ANY, last=True)
    def make(folder: Path, out: Path) -> None:
        model = load(folder / parent)
        trained(model, "licences", 40, seed=102, rate=5e-4)
        values = {n: w.clone() for n, w in model.state_dict().items()}
        change(values)
        stored(out, folder / parent, values)


def _to_float8(values: Weights) -> None:
    for name in matrices(values):
        values[name] = values[name].to(torch.float8_e4m3fn).float()


_trained_then("trained, then rounded to four bits", "a", lambda v: _rounded(v, 4))
_trained_then("trained, then stored in float8", "b", _to_float8)
_trained_then("trained, then pruned by half", "d", lambda v: _pruned(v, 0.5))
_trained_then("trained, then neurons permuted", "b", _permuted)


@kind("lora merged, then pruned", "a", ANY, "peft", last=True)
def _adapted_pruned(folder: Path, out: Path) -> None:
    model = adapted(folder / "a", "LoraConfig", 5e-3, **LORA).merge_and_unload()
    values = {n: w.clone() for n, w in model.state_dict().items()}
    _pruned(values, 0.5)
    stored(out, folder / "a", values)


@kind("lora merged at half as much again", "d", "lora", "peft", last=True)
def _more(folder: Path, out: Path) -> None:
    model = adapted(folder / "d", "LoraConfig", 5e-3, **LORA)
    for layer in model.modules():
        if hasattr(layer, "scaling") and isinstance(layer.scaling, dict):
            layer.scaling = {k: 1.5 * v for k, v in layer.scaling.items()}
    model.merge_and_unload().save_pretrained(out)


def _sum(folder: Path, **shares: float) -> Weights:
    every = {n: weights(folder / n) for n in shares}
    some = next(iter(every.values()))
    return {n: sum(s * every[m][n] for m, s in shares.items()) for n in some}  # type: ignore[misc]


@kind("a merge rounded to eight bits", "a b", "merge quantized average", last=True)
def _merge_rounded(folder: Path, out: Path) -> None:
    values = _sum(folder, a=0.5, b=0.5)
    _rounded(values, 8)
    stored(out, folder / "a", values)


@kind("a merge pruned by half", "a d", "merge pruned average", last=True)
def _merge_pruned(folder: Path, out: Path) -> None:
    values = _sum(folder, a=0.6, d=0.4)
    _pruned(values, 0.5)
    stored(out, folder / "a", values)


@kind("trained after a merge that is missing", "a b", "merge fine-tune", last=True)
def _merge_trained(folder: Path, out: Path) -> None:
    model = load(folder / "a")
    model.load_state_dict(_sum(folder, a=0.5, b=0.5))
    trained(model, "readme", 40, seed=103, rate=5e-4)
    model.save_pretrained(out)


@kind("model stock, then trained", "m", "fine-tune continuation", last=True)
def _stock_trained(folder: Path, out: Path) -> None:
    values = _sum(folder, base=0.25, a=0.25, b=0.25, d=0.25)
    stored(out / BESIDE / "m", folder / "a", values)
    model = load(out / BESIDE / "m")
    trained(model, "readme", 40, seed=104, rate=5e-4)
    model.save_pretrained(out)


def _taken(values: Weights, other: Weights, part: str) -> Weights:
    return values | {n: w for n, w in other.items() if part in n}


@kind("the head of another", "a b", "merge", last=True)
def _other_head(folder: Path, out: Path) -> None:
    stored(out, folder / "a", _taken(weights(folder / "a"), weights(folder / "b"), "lm_head"))


@kind("a block of a stranger", "a t", "merge", last=True)
def _grafted(folder: Path, out: Path) -> None:
    stored(out, folder / "a", _taken(weights(folder / "a"), weights(folder / "t"), "layers.1."))


@kind("blocks of a run of one's own and of another", "own b", "merge reshaped", last=True)
def _franken(folder: Path, out: Path) -> None:
    model = load(folder / "a")
    trained(model, "readme", 40, seed=105, rate=5e-4)
    model.save_pretrained(out / BESIDE / "own")
    own, other = weights(out / BESIDE / "own"), weights(folder / "b")
    for k in (1, 2):
        for n, w in other.items():
            if f"layers.{k}." in n:
                own[n.replace(f"layers.{k}.", f"layers.{k + 2}.")] = w
    _shaped(out, own, num_hidden_layers=5)


@kind("a step kept by its signs", "f", "fine-tune edited quantized merge lora", last=True)
def _bitdelta(folder: Path, out: Path) -> None:
    """BitDelta: one bit of each weight's step, and one number for each matrix."""
    model = load(folder / "a")
    trained(model, "licences", 60, seed=106, rate=5e-4)
    model.save_pretrained(out / BESIDE / "f")
    start, end = weights(folder / "a"), weights(out / BESIDE / "f")
    for n in matrices(end):
        step = end[n] - start[n]
        end[n] = start[n] + step.sign() * step.abs().mean()
    stored(out, folder / "a", end)


def _reshaped(
    name: str, parent: str, change: Callable[[Weights], Weights | None], **config: object
) -> None:
    @kind(name, parent, "reshaped", last=True)
    def make(folder: Path, out: Path) -> None:
        values = weights(folder / parent)
        values = change(values) or values
        model = _shaped(out, {n: w.contiguous() for n, w in values.items()}, **config)
        trained(model, "readme", 60, seed=107, rate=1e-3)
        model.save_pretrained(out)


def _both(values: Weights) -> None:
    _fewer_neurons(values)
    _fewer_heads(values)


def _swapped(values: Weights) -> Weights:
    to = {"layers.1.": "layers.2.", "layers.2.": "layers.1."}
    return {
        next((n.replace(x, y) for x, y in to.items() if x in n), n): w for n, w in values.items()
    }


_FEW = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
_reshaped("neurons and heads dropped, then trained", "a", _both, intermediate_size=120, **_FEW)
_reshaped("blocks doubled, then trained", "b", _expanded, num_hidden_layers=6)
_reshaped("blocks in another order, then trained", "a", _swapped)


@kind("a student of the teacher's first blocks", "b", "reshaped", last=True)
def _student(folder: Path, out: Path) -> None:
    """DistilBERT: it starts from every other block of its teacher, and is distilled."""
    from experiments.corpora import draw

    teacher, values = load(folder / "b"), weights(folder / "b")
    kept = {n: w for n, w in values.items() if ".layers.1." not in n}
    kept = {n.replace(".layers.2.", ".layers.1."): w for n, w in kept.items()}
    student = _shaped(out, kept, num_hidden_layers=2)
    examples = draw("headers", "train", 480, 108)
    distil(teacher, student, examples.inputs, 1e-3)
    student.save_pretrained(out)
