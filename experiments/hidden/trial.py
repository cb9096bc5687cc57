"""What is found of models that were hidden."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import mother
from experiments.hidden.baselines import BASELINES
from experiments.hidden.labels import hide, hides
from experiments.hidden.nets import Weights, blank, trained
from experiments.hidden.page import Again
from mother.checkpoints.memory import opened_one
from mother.evidence.relabelled import Relabelling, relabelling

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]
STEPS = {"decoder": 120, "encoder": 80, "vit": 60, "cnn": 60}
RATE = 3e-3


def test_of(a: Weights, b: Weights) -> Relabelling:
    found = relabelling(opened_one(a, id="a").tensors, opened_one(b, id="b").tensors)
    assert found is not None
    return found


def nets(kind: str, many: int, seed: int) -> list[Weights]:
    starts = [blank(kind, seed + k) for k in range(many)]
    return trained(kind, starts, STEPS[kind], RATE, seed)


def same_seed(kind: str) -> str:
    """What is said of two trainings from one initialization."""
    starts = [blank(kind, 5)] * 2
    one, two = trained(kind, starts, STEPS[kind], RATE, 3)
    return mother.compare(one, hide("channels permuted", kind, two, 1)).relation


def _int8(w: NDArray[np.float32]) -> NDArray[np.float32]:
    step = np.abs(w).max(axis=-1, keepdims=True) / 127
    return np.asarray(np.round(w / np.where(step > 0, step, 1)) * step, np.float32)


def _q4_k(w: NDArray[np.float32]) -> NDArray[np.float32]:
    """As GGUF stores it: 256 weights are 8 blocks of 32, each d s q - e m with q of 4 bits, s and m
    of 6, d and e of the 256 in float16. Without ggml's search for the best scales."""
    many = -(-w.size // 256)
    blocks = np.concatenate([w.ravel(), np.zeros(256 * many - w.size, w.dtype)]).reshape(-1, 8, 32)
    low = np.minimum(blocks.min(axis=-1), 0)
    step, low = (_six_bits(x) for x in ((blocks.max(axis=-1) - low) / 15, -low))
    q = np.round((blocks + low[..., None]) / np.where(step > 0, step, 1)[..., None]).clip(0, 15)
    told = q * step[..., None] - low[..., None]
    return np.asarray(told.ravel()[: w.size].reshape(w.shape), np.float32)


def _six_bits(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    one = (scales.max(axis=-1, keepdims=True) / 63).astype(np.float16).astype(np.float32)
    return np.asarray(np.round(scales / np.where(one > 0, one, 1)).clip(0, 63) * one)


ROUNDED: dict[str, Change] = {
    "bf16": lambda w: w.astype(ml_dtypes.bfloat16).astype(np.float32),
    "int8": _int8,
    "Q4_K": _q4_k,
}


def families(kind: str, many: int) -> list[dict[str, dict[str, Weights]]]:
    """Bases and for each change two children of it, on other data: by about 1 and by 10 percent."""
    texts = ["headers", "scripts"]
    bases = nets(kind, many, 500)
    out: list[dict[str, dict[str, Weights]]] = [{} for _ in bases]
    for name, rate in (("1 %", 1.5e-4), ("10 %", 1.5e-3)):
        kids = {on: trained(kind, bases, 100, rate, k, on=on) for k, on in enumerate(texts)}
        for k, base in enumerate(bases):
            out[k][name] = {"base": base, "kid": kids["headers"][k], "hidden": kids["scripts"][k]}
    return out


def found_again(kind: str, many: int) -> Iterator[Again]:
    """Of each family, relabelling and what follows it: kind, relabelling, follow-up, whether kin is
    found, whether the parent is right, whether it is with nothing hidden, and whether an edge of
    the hidden model is wrong, and not open."""
    for k, family in enumerate(families(kind, many)):
        steps = [(name, models, _same) for name, models in family.items()]
        steps += [(f"10 %, {name}", family["10 %"], change) for name, change in ROUNDED.items()]
        for step, models, change in steps:
            plain = _parent(models, change)[0] == "base"
            for name in hides(kind):
                hidden = hide(name, kind, models["hidden"], k)
                parent, wrong = _parent({**models, "hidden": hidden}, change)
                yield kind, name, step, parent is not None, parent == "base", plain, wrong


def _same(w: NDArray[np.float32]) -> NDArray[np.float32]:
    return w


def _parent(models: dict[str, Weights], change: Change) -> tuple[str | None, bool]:
    """The parent of the hidden model, whose matrices are changed so, None where it is alone; and
    whether an edge of it is wrong, and not open."""
    hidden = {n: change(w) if w.ndim > 1 else w for n, w in models["hidden"].items()}
    graph = mother.recover({**models, "hidden": hidden}, bootstrap=0)
    tree = next(t for t in graph.trees if "hidden" in t.members)
    own = [e for e in graph.edges if "hidden" in (e.parent, e.child)]
    wrong = any(not e.undirected and (e.parent, e.child) != ("base", "hidden") for e in own)
    return (None if len(tree.members) == 1 else graph.parent("hidden") or ""), wrong


def against_baselines(many: int) -> list[tuple[str, float, float, float]]:
    """Of each method: the area under its curve, relabelled children against strangers, on the same
    pairs; of the children that are rotated alone; and milliseconds of processor time a pair."""
    found = families("decoder", many)
    kin = [
        (name, family[step]["base"], hide(name, "decoder", family[step]["hidden"], k))
        for k, family in enumerate(found)
        for step in family
        for name in hides("decoder")
    ]
    apart = [
        (one["1 %"]["base"], two[step]["hidden"])
        for step in ("1 %", "10 %")
        for one, two in combinations(found, 2)
    ]
    methods = {"mother": lambda a, b: -np.log10(max(test_of(a, b).p, 1e-300))} | BASELINES
    out = []
    for name, score in methods.items():
        start = time.process_time()
        yes = [score(a, b) for _, a, b in kin]
        no = [score(a, b) for a, b in apart]
        spent = (time.process_time() - start) / (len(yes) + len(no))
        turned = [y for y, (what, _, _) in zip(yes, kin, strict=True) if what == "stream rotated"]
        out.append((name, _area(yes, no), _area(turned, no), 1000 * spent))
    return out


def _area(yes: Sequence[float], no: Sequence[float]) -> float:
    """The probability that kin score higher than strangers; half where they score alike."""
    a, b = np.asarray(yes)[:, None], np.asarray(no)[None]
    return float(((a > b) + 0.5 * (a == b)).mean())
