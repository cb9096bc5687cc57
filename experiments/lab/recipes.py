"""python -m experiments.lab.recipes DATA [NAME...]: merges by mergekit among 50 relatives and 50
strangers, none of them named: are the parents found, and the coefficients?

Relatives are a tree of trainings on real text, every fourth a merged LoRA; strangers are trained
from weights of their own. DATA/crowd keeps them, DATA/merged the merges."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

import mother
from experiments.lab.merges import Parameters, mergekit
from experiments.lab.models import blank, load, trained
from mother.graph.parts import Block, Recipe

MANY = 50
BLOCKS = 8
CHILD = "x"
TEXTS = ("manual", "headers", "changelog", "copyright", "readme", "licences")
Array = NDArray[np.float64]


def crowd(folder: Path) -> list[Path]:
    """The relatives r00 (the root) to r49 and the strangers s00 to s49; what is there is kept."""
    draws = np.random.default_rng(0)
    names = [f"{kind}{k:02d}" for kind in "rs" for k in range(MANY)]
    for k, name in enumerate(names):
        # the first twelve are the root's children
        parent = 0 if k <= 12 else int(draws.integers(k if name[0] == "r" else 1))
        if (folder / name / "config.json").exists():
            continue
        text, root = TEXTS[k % len(TEXTS)], name[0] == "s" or k == 0
        model = blank(k, num_hidden_layers=BLOCKS) if root else load(folder / f"r{parent:02d}")
        if not root and k % 4 == 3:
            model = _adapted(model, text, k)
        else:
            trained(model, text, 150 if k == 0 else 20, seed=k, rate=3e-3 if root else 5e-4)
        model.save_pretrained(folder / name)
    return [folder / name for name in names]


def _adapted(model: torch.nn.Module, text: str, seed: int) -> torch.nn.Module:
    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    both = peft.get_peft_model(model, config)
    trained(both, text, 20, seed=seed, rate=5e-3)
    return both.merge_and_unload()


@dataclass(frozen=True)
class Case:
    """A merge. config: of mergekit, models by name. shares: of each parent, as was asked for; None
    where the method finds them out. curve: by block, the share of the second parent in that of
    both. kept: by parent, what share of its step's weights was kept; times: the number that these
    were multiplied by. base: a model that may be named beside the parents."""

    name: str
    config: Parameters
    parents: tuple[str, ...]
    shares: tuple[float, ...] | None = None
    curve: tuple[float, ...] = ()
    kept: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    base: str = ""


CASES: dict[str, Case] = {}


def case(
    name: str,
    method: str,
    of: dict[str, Parameters],
    base: str = "",
    shares: dict[str, float] | None = None,
    *,
    curve: tuple[float, ...] = (),
    kept: tuple[float, ...] = (),
    times: tuple[float, ...] = (),
    may: bool = False,
    **more: object,
) -> None:
    """Register one. of: parameters by model. may: whether the base needs not be found."""
    config: Parameters = {"merge_method": method, "base_model": base, **more}
    config["models"] = [{"model": m, "parameters": p} for m, p in of.items()]
    if not base:
        del config["base_model"]
    parents = tuple(shares or (m for m in of if m != base or not may))
    asked = tuple(shares.values()) if shares else None
    CASES[name] = Case(name, config, parents, asked, curve, kept, times, base if may else "")


def weighted(**shares: object) -> dict[str, Parameters]:
    """Models with the weights that a configuration gives them."""
    return {name: {"weight": share} for name, share in shares.items()}


def linear(name: str, shares: dict[str, float], **more: object) -> None:
    """A weighted sum."""
    case(name, "linear", weighted(**shares), shares=shares, **more)


linear("linear 0.5", {"r01": 0.5, "r02": 0.5})
linear("linear 0.7", {"r03": 0.7, "r05": 0.3})
linear("linear 0.9", {"r04": 0.9, "r06": 0.1})
linear("linear of three", {"r01": 0.2, "r05": 0.3, "r09": 0.5})
linear("linear of five", {"r01": 0.1, "r02": 0.15, "r05": 0.2, "r06": 0.25, "r08": 0.3})
linear("linear of eight", {f"r{k:02d}": 0.125 for k in range(1, 9)})
linear("linear of relatives that are far", {"r40": 0.4, "r45": 0.6})
linear("linear with the root", {"r00": 0.4, "r08": 0.6})
linear("linear of strangers", {"s03": 0.35, "s10": 0.65})
linear("linear of a relative and a stranger", {"r10": 0.8, "s20": 0.2})
linear("linear, shares of 0.9 in all", {"r01": 0.5, "r04": 0.4}, parameters={"normalize": False})
linear("linear in bfloat16", {"r01": 0.6, "r09": 0.4}, dtype="bfloat16")
linear("linear in float16", {"r05": 0.3, "r08": 0.7}, dtype="float16")
RAMP = tuple(float(k / (BLOCKS - 1)) for k in range(BLOCKS))
case(
    "linear, a gradient",
    "linear",
    weighted(r01=[1, 0], r02=[0, 1]),
    curve=RAMP,
)


def slerp(name: str, a: str, b: str, t: object, curve: tuple[float, ...]) -> None:
    """Along the arc from the first to the second."""
    case(name, "slerp", {a: {}, b: {}}, a, curve=curve, parameters={"t": t})


slerp("slerp 0.3", "r01", "r02", 0.3, (0.3,) * BLOCKS)
slerp("slerp, a gradient", "r05", "r09", [0, 1], RAMP)
V = [0, 0.3, 0.7, 1]
slerp("slerp, a curve", "r04", "r06", V, tuple(np.interp(RAMP, np.linspace(0, 1, 4), V).tolist()))
slerp("slerp of strangers", "s01", "s02", 0.25, (0.25,) * BLOCKS)
slerp("slerp of strangers, a gradient", "s05", "s06", [0.1, 0.9], tuple(0.1 + 0.8 * np.array(RAMP)))
case("nuslerp", "nuslerp", weighted(r01=0.4, r05=0.6), curve=(0.6,) * BLOCKS)
case("nuslerp of steps", "nuslerp", weighted(r01=0.5, r02=0.5), "r00", may=True)
case("multislerp", "multislerp", weighted(r01=0.3, r02=0.3, r05=0.4))
case("karcher", "karcher", {"r01": {}, "r05": {}, "r09": {}})


def arithmetic(name: str, more: Parameters | None = None, **shares: float) -> None:
    """Multiples of steps from the root."""
    scale = float(str((more or {}).get("lambda", 1.0)))
    whole = {n: scale * w for n, w in shares.items()}
    whole["r00"] = 1 - sum(whole.values())
    parameters = {"parameters": more} if more else {}
    case(name, "task_arithmetic", weighted(**shares), "r00", whole, **parameters)


arithmetic("task arithmetic 0.6", r01=0.6, r02=0.6)
arithmetic("task arithmetic of three", r01=0.4, r05=0.3, r09=0.5)
arithmetic("task arithmetic, small", r04=0.15, r06=0.25)
arithmetic("task arithmetic, lambda 0.7", {"lambda": 0.7}, r01=0.8, r08=0.6)
arithmetic("task arithmetic, one taken away", r05=1.0, r02=-0.4)
arithmetic("negation", r01=-0.5)
arithmetic("a step by half", r09=0.5)
arithmetic("a step and a half", r09=1.5)
for _many, _of in (("three", "r01 r02 r05"), ("five", "r01 r02 r05 r06 r09")):
    case(f"model stock of {_many}", "model_stock", {n: {} for n in _of.split()}, "r00", may=True)
case(
    "model stock by rows",
    "model_stock",
    {n: {} for n in ("r01", "r02", "r05")},
    "r00",
    may=True,
    parameters={"filter_wise": True},
)


def sparse(
    name: str,
    method: str,
    density: float,
    times: tuple[float, ...],
    more: Parameters | None = None,
    **shares: float,
) -> None:
    """Steps of which only some weights are kept."""
    of = {n: {"weight": w, "density": density} for n, w in shares.items()}
    kept = (density,) * len(shares)
    parameters = {"parameters": more} if more else {}
    case(name, method, of, "r00", kept=kept, times=times, may=True, **parameters)


for _d in (0.2, 0.5, 0.9):
    sparse(f"ties {_d}", "ties", _d, (1.0, 1.0), r01=0.5, r02=0.5)
    _w = 0.5 / _d
    sparse(f"dare_linear {_d}", "dare_linear", _d, (_w, _w), r01=0.5, r05=0.5)
    sparse(f"dare_ties {_d}", "dare_ties", _d, (_w, _w), r04=0.5, r06=0.5)
sparse("ties 0.6, 0.7 and 0.3", "ties", 0.6, (0.7, 0.3), {"normalize": False}, r01=0.7, r02=0.3)
sparse("ties of three 0.4", "ties", 0.4, (1.0,) * 3, r01=1.0, r02=1.0, r05=1.0)
sparse("dare_linear 0.6, uneven", "dare_linear", 0.6, (1.0, 0.5), r01=0.6, r09=0.3)
sparse("dare_linear of three 0.5", "dare_linear", 0.5, (0.8,) * 3, r01=0.4, r05=0.4, r09=0.4)
sparse("dare_linear of one 0.3", "dare_linear", 0.3, (1 / 0.3,), r08=1.0)
sparse("della 0.5", "della", 0.5, (2.0, 2.0), {"epsilon": 0.1}, r01=0.5, r02=0.5)
sparse("della_linear 0.6", "della_linear", 0.6, (0.83, 0.83), {"epsilon": 0.1}, r05=0.5, r09=0.5)
sparse("breadcrumbs 0.7", "breadcrumbs", 0.7, (0.5, 0.5), {"gamma": 0.01}, r01=0.5, r02=0.5)
sparse("breadcrumbs_ties 0.5", "breadcrumbs_ties", 0.5, (0.5, 0.5), r04=0.5, r06=0.5)
case("sce 0.5", "sce", {"r01": {}, "r02": {}}, "r00", may=True, parameters={"select_topk": 0.5})
case("arcee fusion", "arcee_fusion", {"r01": {}, "r02": {}}, "r01")
case("nearswap", "nearswap", {"r01": {}, "r02": {}}, "r01", parameters={"t": 0.002})
case("nearswap of strangers", "nearswap", {"s01": {}, "s02": {}}, "s01", parameters={"t": 0.02})


def slices(name: str, *parts: tuple[str, int, int]) -> None:
    """Blocks taken whole."""
    taken = [{"sources": [{"model": m, "layer_range": [s, e]}]} for m, s, e in parts]
    parents = tuple(dict.fromkeys(m for m, _, _ in parts))
    CASES[name] = Case(name, {"merge_method": "passthrough", "slices": taken}, parents)


slices("passthrough of two", ("r01", 0, 4), ("r02", 4, 8))
slices("passthrough of three", ("r05", 0, 3), ("r06", 3, 6), ("r09", 6, 8))
slices("passthrough, one block of another", ("r01", 0, 5), ("r05", 5, 6), ("r01", 6, 8))
slices("passthrough of strangers", ("s01", 0, 4), ("s02", 4, 8))
slices("blocks of two stacked", ("r01", 0, 6), ("r02", 2, 8))
slices("blocks of one repeated", ("r01", 0, 6), ("r01", 2, 8))


def made(folder: Path, one: Case) -> Path:
    """The merge in a folder; what is there is kept."""
    path = folder / "merged" / one.name.replace(" ", "_")
    if not path.exists():
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        torch.manual_seed(1)
        mergekit(_placed(one.config, folder / "crowd"), partial)
        partial.rename(path)
    return path


def _placed(config: object, folder: Path) -> Parameters:
    """The configuration with paths for names."""

    def placed(x: object) -> object:
        if isinstance(x, dict):
            named = ("model", "base_model")
            return {k: str(folder / v) if k in named else placed(v) for k, v in x.items()}
        return [placed(y) for y in x] if isinstance(x, list) else x

    found = placed(config)
    assert isinstance(found, dict)
    return found


@dataclass(frozen=True)
class Found:
    """parents: whether they are the right ones. off: of coefficients, how far at most. r: of the
    curve, with what was asked. others: edges among the others that changed."""

    case: Case
    said: str
    parents: bool
    off: float
    r: float
    others: int
    wrong: bool


def scored(folder: Path, one: Case, models: list[Path], alone: set[tuple[str, str]]) -> Found:
    """What is found of one merge among all."""
    with tempfile.TemporaryDirectory() as place:
        child = Path(place) / CHILD
        child.symlink_to(made(folder, one).resolve())
        graph = mother.recover([*models, child], bootstrap=0)
    node = next(n for n in graph.nodes if n.id == CHILD)
    found = {e.parent for e in graph.edges if e.child == CHILD}
    may = {*one.parents, one.base}
    right = {*one.parents} <= found <= may
    edges = {(e.parent, e.child) for e in graph.edges if CHILD not in (e.parent, e.child)}
    wrong = any(
        (e.parent == CHILD or (e.child == CHILD and e.parent not in may))
        and not e.undirected
        and (e.direction_probability or 0) > 0.8
        for e in graph.edges
    )
    off, r = float("nan"), float("nan")
    if node.recipe is not None and right:
        off, r = _compared(one, node.recipe)
    said = _said(graph, node.recipe)
    return Found(one, said, right, off, r, len(edges ^ alone), wrong)


def _said(graph: mother.ModelGraph, recipe: Recipe | None) -> str:
    if recipe is None:
        own = [e for e in graph.edges if e.child == CHILD]
        return "; ".join(f"{e.parent} {e.relation}" for e in own) or "no parent"
    shares = zip(recipe.parents, recipe.shares, strict=True)
    said = f"{recipe.method}: " + ", ".join(f"{p} {s:.3f}" for p, s in shares)
    pieces = (
        f"{100 * x.share:.0f} % " + (", ".join(map(_times, x.parents, x.multiples)) or "start")
        for x in recipe.pieces
    )
    return "; ".join([said, *pieces])


def _times(parent: str, multiple: float) -> str:
    return f"{multiple:.3f} {parent}"


def _compared(one: Case, recipe: Recipe) -> tuple[float, float]:
    of = dict(zip(recipe.parents, recipe.shares, strict=True))
    if one.curve:
        told = np.array([_turn(one, recipe, f"layers.{k}", of) for k in range(BLOCKS)])
        asked = np.array(one.curve)
        off = float(np.abs(told - asked).max())
        return off, float(np.corrcoef(told, asked)[0, 1]) if np.ptp(asked) else float("nan")
    if one.shares is None:
        return float("nan"), float("nan")
    pairs = zip(one.parents, one.shares, strict=True)
    return max(abs(of.get(p, 0.0) - s) for p, s in pairs), float("nan")


def _turn(one: Case, recipe: Recipe, block: str, of: dict[str, float]) -> float:
    """The share of the second parent in a block, of that of both: of an arc, its part."""
    own = [b for b in recipe.blocks if b.name.endswith(block) or f"{block}." in b.name]
    told = [_of(b, recipe) for b in own] or [of]
    a, b = (float(np.mean([x[p] for x in told])) for p in one.parents)
    arc = one.config["merge_method"] == "slerp" and "s" in one.parents[0]
    return float(2 / np.pi * np.arctan2(b, a)) if arc else b / (a + b)


def _of(block: Block, recipe: Recipe) -> dict[str, float]:
    return dict(zip(recipe.parents, block.shares, strict=True))


HEAD = """\
| merge | parents | found | right | coefficients off by | curve's r | changed others |
|---|---|---|---|---|---|---|"""


def row(f: Found) -> str:
    """One line of the scoreboard."""
    off = "" if np.isnan(f.off) else f"{f.off:.4f}"
    r = "" if np.isnan(f.r) else f"{f.r:.5f}"
    right = ("yes" if f.parents else "**no**") + (", **sure and wrong**" if f.wrong else "")
    asked = f.case.shares or ("",) * len(f.case.parents)
    true = ", ".join(f"{p} {s}".strip() for p, s in zip(f.case.parents, asked, strict=True))
    return f"| {f.case.name} | {true} | {f.said} | {right} | {off} | {r} | {f.others} |"


def scores(folder: Path, names: tuple[str, ...]) -> Iterator[Found]:
    """Of each merge of these names, or of all."""
    models = crowd(folder / "crowd")
    graph = mother.recover(models, bootstrap=0)
    alone = {(e.parent, e.child) for e in graph.edges}
    for name, one in CASES.items():
        if not names or name in names:
            yield scored(folder, one, models, alone)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False))
@click.argument("names", nargs=-1)
def main(data: Path, names: tuple[str, ...]) -> None:
    """Print the scoreboard."""
    (data / "merged").mkdir(parents=True, exist_ok=True)
    print(HEAD)
    for found in scores(data, names):
        print(row(found), flush=True)


if __name__ == "__main__":
    main()
