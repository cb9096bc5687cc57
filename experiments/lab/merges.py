"""Merges, by mergekit."""

from __future__ import annotations

from pathlib import Path

import torch

from experiments.lab.kinds import BESIDE, kind
from experiments.lab.models import load, trained

TOOL = "mergekit 0.1.4"
Parameters = dict[str, object]


def mergekit(config: Parameters, out: Path) -> None:
    """Merge as a configuration says."""
    from mergekit.architecture import base  # newer transformers name torch in a type it holds
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    for part in (base.ConfiguredModuleArchitecture, base.ConfiguredModelArchitecture):
        part.model_rebuild(_types_namespace={"torch": torch}, force=True)
    chosen = MergeConfiguration.model_validate({"dtype": "float32"} | config)
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=1)
    run_merge(chosen, str(out), options=options)


def configured(
    folder: Path, method: str, shares: dict[str, Parameters], base: str | None, more: Parameters
) -> Parameters:
    """A configuration for models of the family."""
    models = [{"model": str(folder / name), "parameters": p} for name, p in shares.items()]
    config: Parameters = {"merge_method": method, "models": models, **more}
    return config if base is None else config | {"base_model": str(folder / base)}


def _merging(
    name: str,
    method: str,
    shares: dict[str, Parameters],
    relations: str = "merge",
    *,
    base: str | None = None,
    parents: str | None = None,
    first: bool = False,
    **more: object,
) -> None:
    @kind(name, parents or " ".join(shares), relations, TOOL, first=first)
    def make(folder: Path, out: Path) -> None:
        mergekit(configured(folder, method, shares, base, more), out)


def _weights(**shares: object) -> dict[str, Parameters]:
    return {name: {"weight": share} for name, share in shares.items()}


_merging("linear", "linear", _weights(a=0.5, b=0.5), first=True)
_merging("linear 7:3", "linear", _weights(a=0.7, d=0.3), first=True)
_merging("linear with the base", "linear", _weights(base=0.4, a=0.6), first=True)
_merging("linear bfloat16", "linear", _weights(a=0.6, b=0.4), first=True, dtype="bfloat16")
_merging("linear of strangers", "linear", _weights(a=0.5, t=0.5), first=True)
_merging(
    "linear of four", "linear", {n: {"weight": 0.25} for n in "abcd"}, "merge average", first=True
)
_merging("linear float16", "linear", _weights(b=0.3, d=0.7), dtype="float16")
_merging("linear of three", "linear", _weights(a=0.2, b=0.3, d=0.5))
_merging("linear of a parent and its child", "linear", _weights(a=0.5, c=0.5))
_merging("linear of cousins", "linear", _weights(b=0.5, c=0.5))
_merging(
    "linear, weights not normalized",
    "linear",
    _weights(a=0.5, b=0.4),
    parameters={"normalize": False},
)
_merging(
    "linear, a gradient", "linear", {"a": {"weight": [0, 0.5, 1]}, "b": {"weight": [1, 0.5, 0]}}
)
_merging("slerp", "slerp", {"a": {}, "b": {}}, first=True, base="a", parameters={"t": 0.3})
_merging(
    "slerp by layer",
    "slerp",
    {"a": {}, "b": {}},
    first=True,
    base="a",
    parameters={"t": [0, 0.3, 0.7, 1]},
)
_merging(
    "slerp of strangers", "slerp", {"b": {}, "t": {}}, first=True, base="b", parameters={"t": 0.5}
)
_merging(
    "slerp by kind of layer",
    "slerp",
    {"a": {}, "d": {}},
    base="a",
    parameters={
        "t": [
            {"filter": "self_attn", "value": [0, 0.5, 1]},
            {"filter": "mlp", "value": [1, 0.5, 0]},
            {"value": 0.5},
        ]
    },
)
_merging("task arithmetic", "task_arithmetic", _weights(a=0.6, b=0.6), first=True, base="base")
_merging(
    "task arithmetic of three",
    "task_arithmetic",
    _weights(a=0.5, b=0.5, d=0.5),
    first=True,
    base="base",
)
_merging("task arithmetic, small", "task_arithmetic", _weights(a=0.2, b=0.2), base="base")
_merging("task arithmetic, one taken away", "task_arithmetic", _weights(a=1.0, b=-0.4), base="base")
_merging(
    "task arithmetic, a step scaled",
    "task_arithmetic",
    _weights(b=0.5),
    base="base",
    parents="base b",
)
_merging("negation", "task_arithmetic", _weights(a=-0.5), first=True, base="base", parents="base a")
for _density in (0.5, 0.9):
    _share: Parameters = {"weight": 0.5, "density": _density}
    for _method in ("ties", "dare_ties", "dare_linear"):
        _two = {"a": _share, "b": _share}
        _merging(f"{_method} {_density}", _method, _two, first=True, base="base")
_merging("model stock", "model_stock", {"a": {}, "b": {}, "d": {}}, first=True, base="base")


def _sparse(name: str, method: str, density: float, more: Parameters, **shares: float) -> None:
    of = {n: {"weight": w, "density": density} for n, w in shares.items()}
    _merging(name, method, of, base="base", parameters=more)


_sparse("ties 0.2", "ties", 0.2, {"normalize": True}, a=0.5, b=0.5)
_sparse("ties 0.6 not normalized", "ties", 0.6, {"normalize": False}, a=0.7, b=0.3)
_sparse("ties of three 0.5", "ties", 0.5, {"normalize": True}, a=1.0, b=1.0, d=1.0)
_sparse("dare_linear 0.7", "dare_linear", 0.7, {"normalize": False}, a=0.6, d=0.4)
_sparse("dare_ties 0.3", "dare_ties", 0.3, {"normalize": True}, b=0.5, d=0.5)
_sparse("dare_linear of three 0.5", "dare_linear", 0.5, {"normalize": False}, a=0.4, b=0.4, d=0.4)
_sparse("della 0.5", "della", 0.5, {"epsilon": 0.1, "lambda": 1.0}, a=0.5, b=0.5)
_sparse("della_linear 0.6", "della_linear", 0.6, {"epsilon": 0.1, "lambda": 1.0}, b=0.5, d=0.5)
_sparse("breadcrumbs 0.7", "breadcrumbs", 0.7, {"gamma": 0.01}, a=0.5, b=0.5)
_sparse("breadcrumbs_ties 0.5", "breadcrumbs_ties", 0.5, {"gamma": 0.01}, a=0.5, d=0.5)
_merging(
    "dare of one 0.5",
    "dare_linear",
    {"a": {"weight": 1.0, "density": 0.5}},
    "merge edited",
    base="base",
    parents="a",
)
_merging("sce", "sce", {"a": {}, "b": {}}, base="base", parameters={"select_topk": 0.5})
_merging("arcee fusion", "arcee_fusion", {"a": {}, "b": {}}, base="a")
_merging("nuslerp", "nuslerp", _weights(a=0.4, b=0.6))
_merging("nuslerp of steps", "nuslerp", _weights(a=0.5, d=0.5), base="base")
_merging("karcher", "karcher", {"a": {}, "b": {}, "d": {}}, "merge average")
_merging("multislerp", "multislerp", _weights(a=0.3, b=0.3, d=0.4), "merge average")
_merging("nearswap", "nearswap", {"a": {}, "b": {}}, base="a", parameters={"t": 0.001})
_merging("model stock of four", "model_stock", {n: {} for n in "abcd"}, base="base")


def _slices(
    name: str, parents: str, relations: str, *parts: tuple[str, int, int], first: bool = False
) -> None:
    @kind(name, parents, relations, TOOL, first=first)
    def make(folder: Path, out: Path) -> None:
        slices = [
            {"sources": [{"model": str(folder / model), "layer_range": [start, end]}]}
            for model, start, end in parts
        ]
        mergekit({"merge_method": "passthrough", "slices": slices}, out)


_slices("layers of two", "a b", "merge", ("a", 0, 1), ("b", 1, 3), first=True)
_slices("blocks repeated", "a", "reshaped merge", ("a", 0, 2), ("a", 1, 3), first=True)
_slices("a block dropped", "a", "reshaped", ("a", 0, 1), ("a", 2, 3), first=True)
_slices("layers of three models", "a b d", "merge", ("a", 0, 1), ("b", 1, 2), ("d", 2, 3))
_slices("first block dropped", "b", "reshaped", ("b", 1, 3))
_slices("last block dropped", "a", "reshaped", ("a", 0, 2))
_slices("last block repeated", "d", "reshaped", ("d", 0, 3), ("d", 2, 3))
_slices("every block twice", "a", "reshaped", *[("a", k // 2, k // 2 + 1) for k in range(6)])
_slices("blocks in another order", "b", "reshaped edited", ("b", 0, 1), ("b", 2, 3), ("b", 1, 2))
_slices("blocks of two stacked", "a b", "merge reshaped", ("a", 0, 3), ("b", 1, 3))


@kind("tuned after a merge", "m", "fine-tune", f"{TOOL}, transformers")
def _after(folder: Path, out: Path) -> None:
    made = out / BESIDE / "m"
    mergekit(configured(folder, "linear", _weights(a=0.5, b=0.5), None, {}), made)
    model = load(made)
    trained(model, "licences", 60, seed=12, rate=5e-4)
    model.save_pretrained(out)


@kind("a merge merged again", "m d", "merge", TOOL)
def _again(folder: Path, out: Path) -> None:
    made = out / BESIDE / "m"
    mergekit(configured(folder, "linear", _weights(a=0.5, b=0.5), None, {}), made)
    both: Parameters = {
        "merge_method": "linear",
        "models": [
            {"model": str(made), "parameters": {"weight": 0.5}},
            {"model": str(folder / "d"), "parameters": {"weight": 0.5}},
        ],
    }
    mergekit(both, out)
