"""The kinds of children, each with who its parents are and what may be said of it.

A kind is a function from the family's folder to a checkpoint, and one line in KINDS. Half of them
are for fitting, half for judging; which is which follows from the name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiments.lab.models import load, trained

Weights = dict[str, Tensor]
Make = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Kind:
    """parents: those that are right, all of them for a merge. relations: that may be said. make:
    writes the model into a folder, from that of the family. source: the tool that made it."""

    name: str
    parents: tuple[str, ...]
    relations: tuple[str, ...]
    source: str
    make: Make

    @property
    def judges(self) -> bool:
        """Whether it is one of those that judge, and nothing was chosen by it."""
        return hashlib.sha256(self.name.encode()).digest()[0] % 2 == 1


KINDS: dict[str, Kind] = {}


def kind(name: str, parents: str, relations: str, source: str = "torch") -> Callable[[Make], Make]:
    """Register a kind. parents, relations: words, apart by spaces."""

    def register(make: Make) -> Make:
        KINDS[name] = Kind(name, tuple(parents.split()), tuple(relations.split()), source, make)
        return make

    return register


def weights(path: Path) -> Weights:
    """All tensors of a model of the family."""
    return dict(load(path).state_dict())


def stored(path: Path, like: Path, values: Weights, dtype: torch.dtype = torch.float32) -> None:
    """A model of the family's layout with these weights."""
    model = load(like)
    model.load_state_dict(values)
    model.to(dtype).save_pretrained(path)


def _matrices(values: Weights) -> list[str]:
    return [name for name, w in values.items() if w.ndim == 2]


# merges, by mergekit


def _mergekit(config: dict[str, object], out: Path) -> None:
    from mergekit.architecture import base  # newer transformers name torch in a type it holds
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    for part in (base.ConfiguredModuleArchitecture, base.ConfiguredModelArchitecture):
        part.model_rebuild(_types_namespace={"torch": torch}, force=True)
    chosen = MergeConfiguration.model_validate({"dtype": "float32"} | config)
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    run_merge(chosen, str(out), options=options)


def _models(folder: Path, **parameters: dict[str, object]) -> list[dict[str, object]]:
    return [{"model": str(folder / n), "parameters": p} for n, p in parameters.items()]


def _merging(
    name: str,
    method: str,
    shares: dict[str, dict[str, object]],
    relations: str = "merge",
    *,
    base: str | None = None,
    parents: str | None = None,
    **more: object,
) -> None:
    @kind(name, parents or " ".join(shares), relations, "mergekit 0.1.4")
    def make(folder: Path, out: Path) -> None:
        config = {"merge_method": method, "models": _models(folder, **shares), **more}
        if base is not None:
            config["base_model"] = str(folder / base)
        _mergekit(config, out)


_merging("linear", "linear", {"a": {"weight": 0.5}, "b": {"weight": 0.5}})
_merging("linear 7:3", "linear", {"a": {"weight": 0.7}, "d": {"weight": 0.3}})
_merging("linear with the base", "linear", {"base": {"weight": 0.4}, "a": {"weight": 0.6}})
_merging(
    "linear bfloat16", "linear", {"a": {"weight": 0.6}, "b": {"weight": 0.4}}, dtype="bfloat16"
)
_merging("linear of strangers", "linear", {"a": {"weight": 0.5}, "t": {"weight": 0.5}})
_merging("linear of four", "linear", {n: {"weight": 0.25} for n in "abcd"}, "merge average")
_merging("slerp", "slerp", {"a": {}, "b": {}}, base="a", parameters={"t": 0.3})
_merging(
    "slerp by layer", "slerp", {"a": {}, "b": {}}, base="a", parameters={"t": [0, 0.3, 0.7, 1]}
)
_merging("slerp of strangers", "slerp", {"b": {}, "t": {}}, base="b", parameters={"t": 0.5})
_merging(
    "task arithmetic",
    "task_arithmetic",
    {"a": {"weight": 0.6}, "b": {"weight": 0.6}},
    base="base",
)
_merging(
    "task arithmetic of three",
    "task_arithmetic",
    {n: {"weight": 0.5} for n in "abd"},
    base="base",
)
_merging("negation", "task_arithmetic", {"a": {"weight": -0.5}}, base="base", parents="base a")
for _density in (0.5, 0.9):
    _share = {"weight": 0.5, "density": _density}
    for _method in ("ties", "dare_ties", "dare_linear"):
        _merging(f"{_method} {_density}", _method, {"a": _share, "b": _share}, base="base")
_merging("model stock", "model_stock", {"a": {}, "b": {}, "d": {}}, base="base")


def _slices(name: str, parents: str, relations: str, *parts: tuple[str, int, int]) -> None:
    @kind(name, parents, relations, "mergekit 0.1.4")
    def make(folder: Path, out: Path) -> None:
        slices = [
            {"sources": [{"model": str(folder / model), "layer_range": [first, end]}]}
            for model, first, end in parts
        ]
        _mergekit({"merge_method": "passthrough", "slices": slices}, out)


_slices("layers of two", "a b", "merge", ("a", 0, 1), ("b", 1, 3))
_slices("blocks repeated", "a", "reshaped merge", ("a", 0, 2), ("a", 1, 3))
_slices("a block dropped", "a", "reshaped", ("a", 0, 1), ("a", 2, 3))


# averages


@kind("soup of three", "a b d", "average merge")
def _soup(folder: Path, out: Path) -> None:
    each = [weights(folder / n) for n in "abd"]
    stored(out, folder / "a", {n: torch.stack([w[n] for w in each]).mean(0) for n in each[0]})


# trained further


def _tuned(name: str, parent: str, relations: str, text: str, change: Callable[..., None]) -> None:
    @kind(name, parent, relations, "transformers")
    def make(folder: Path, out: Path) -> None:
        model = load(folder / parent)
        change(model)
        trained(model, text, 40, seed=7, rate=5e-4)
        model.save_pretrained(out)


def _only(part: str) -> Callable[..., None]:
    def freeze(model: torch.nn.Module) -> None:
        for name, p in model.named_parameters():
            p.requires_grad_(part in name)

    return freeze


_tuned("fine-tune", "a", "fine-tune continuation", "licences", lambda model: None)
_tuned("head alone", "a", "fine-tune", "readme", _only("lm_head"))
_tuned("attention alone", "b", "fine-tune continuation", "readme", _only("self_attn"))
_tuned("embedding alone", "b", "fine-tune", "readme", _only("embed_tokens"))


def _peft(name: str, parent: str, relations: str, merge: bool, **settings: object) -> None:
    @kind(name, parent, relations, "peft")
    def make(folder: Path, out: Path) -> None:
        from peft import LoraConfig, get_peft_model

        chosen = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
        model = get_peft_model(load(folder / parent), LoraConfig(**(chosen | settings)))
        trained(model, "licences", 40, seed=8, rate=5e-3)
        (model.merge_and_unload() if merge else model).save_pretrained(out)


_peft("lora merged", "a", "lora", True)
_peft("rslora merged", "b", "lora", True, use_rslora=True)
_peft("dora merged", "a", "lora fine-tune", True, use_dora=True)
_peft("lora adapter", "a", "adapter", False)
_peft("rslora adapter", "b", "adapter", False, use_rslora=True)


# edited


@kind("a direction taken out", "a", "edited")
def _abliterated(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    u = torch.randn(64, generator=torch.Generator().manual_seed(3))
    u /= u.norm()
    for name in _matrices(values):
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            values[name] -= torch.outer(u, u @ values[name])
    stored(out, folder / "a", values)


@kind("a fact edited", "b", "edited")
def _fact(folder: Path, out: Path) -> None:
    values, draws = weights(folder / "b"), torch.Generator().manual_seed(4)
    name = "model.layers.1.mlp.down_proj.weight"
    rows, columns = values[name].shape
    step = torch.randn(rows, generator=draws), torch.randn(columns, generator=draws)
    values[name] += 0.01 * torch.outer(*step)
    stored(out, folder / "b", values)


@kind("times 1.1", "a", "edited")
def _times(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    stored(out, folder / "a", {n: 1.1 * w if w.ndim == 2 else w for n, w in values.items()})


@kind("noise", "a", "edited fine-tune")
def _noise(folder: Path, out: Path) -> None:
    values, draws = weights(folder / "a"), torch.Generator().manual_seed(5)
    noisy = {
        n: w + 0.01 * w.std() * torch.randn(w.shape, generator=draws) for n, w in values.items()
    }
    stored(out, folder / "a", noisy)


# copies


for _type in ("bfloat16", "float16"):

    @kind(f"stored as {_type}", "a", "converted")
    def _converted(folder: Path, out: Path, dtype: str = _type) -> None:
        stored(out, folder / "a", weights(folder / "a"), getattr(torch, dtype))


@kind("pruned by half", "a", "pruned")
def _pruned(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    for name in _matrices(values):
        least = values[name].abs().median()
        values[name] = torch.where(values[name].abs() < least, 0.0, values[name])
    stored(out, folder / "a", values)


# reshaped


def _resized(name: str, rows: int, steps: int) -> None:
    @kind(name, "a", "resized", "transformers")
    def make(folder: Path, out: Path) -> None:
        model = load(folder / "a")
        torch.manual_seed(6)
        model.resize_token_embeddings(rows)
        if steps:
            trained(model, "readme", steps, seed=9, rate=5e-4)
        model.save_pretrained(out)


_resized("tokens added", 272, 0)
_resized("tokens added and trained", 272, 40)
_resized("tokens trimmed", 240, 0)
