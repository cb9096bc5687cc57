"""Twelve relabellings: what changes a net's weights and not its function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from experiments.hidden.nets import BLOCKS, GROUPS, HEAD, HEADS, Weights

Array = NDArray[np.floating]
Draw = np.random.Generator
Hide = Callable[[str, Weights, Draw], Weights]

READ = ("q", "k", "v", "gate", "up")


def _rotation(draw: Draw, size: int) -> Array:
    return np.linalg.qr(draw.standard_normal((size, size)))[0]


def _blocks() -> list[str]:
    return [f"layers.{k}." for k in range(BLOCKS)]


def _stream(kind: str, w: Weights, turn: Array) -> Weights:
    """The stream x becomes x T; norms' scales go with it, where T is a permutation with signs."""
    out = dict(w)
    for name, value in w.items():
        module, what = name.rsplit(".", 1) if "." in name else (name, "")
        last = module.rsplit(".", 1)[-1]
        if last.startswith("norm") and (value == 1).all():
            continue
        if last.startswith("norm"):
            out[name] = value @ (np.abs(turn) if what == "weight" else turn)
        elif last in ("o", "down", "patch"):
            out[name] = np.tensordot(turn.T, value, 1)
        elif what == "weight" or name == "class":
            out[name] = value @ turn
    return out


def channels_permuted(kind: str, w: Weights, draw: Draw) -> Weights:
    if kind == "cnn":
        for k in range(3):
            w = _neurons(w, draw, [f"conv.{k}"], f"conv.{k + 1}" if k < 2 else "head")
        return w
    return _stream(kind, w, np.eye(w["norm.weight"].size)[draw.permutation(w["norm.weight"].size)])


def channels_signed(kind: str, w: Weights, draw: Draw) -> Weights:
    size = w["norm.weight"].size
    turn = np.eye(size)[draw.permutation(size)] * draw.choice([-1.0, 1.0], size)
    return _stream(kind, w, turn)


def norms_folded(kind: str, w: Weights, draw: Draw) -> Weights:
    out = dict(w)
    for norm, readers in (
        *(((f"{at}norm1"), [f"{at}{x}" for x in "qkv"]) for at in _blocks()),
        *(((f"{at}norm2"), [f"{at}gate", f"{at}up"]) for at in _blocks()),
        ("norm", ["head"]),
    ):
        for reader in readers:
            out[f"{reader}.weight"] = w[f"{reader}.weight"] * w[f"{norm}.weight"]
        out[f"{norm}.weight"] = np.ones_like(w[f"{norm}.weight"])
    return out


def stream_rotated(kind: str, w: Weights, draw: Draw) -> Weights:
    """As QuaRot does it: scales of norms folded into what reads them, then any rotation."""
    return _stream(kind, norms_folded(kind, w, draw), _rotation(draw, w["norm.weight"].size))


def _neurons(
    w: Weights, draw: Draw, written: list[str], read: str, scale: Array | None = None
) -> Weights:
    """Units permuted; the last matrix that writes them, and its bias, multiplied by scales."""
    out, size = dict(w), len(w[f"{written[0]}.weight"])
    order = draw.permutation(size) if scale is None else np.arange(size)
    scale = np.ones(size) if scale is None else scale
    for module in written:
        for name in (f"{module}.weight", f"{module}.bias"):
            if name in w:
                moved = w[name][order]
                by = scale.reshape(-1, *(1,) * (moved.ndim - 1))
                out[name] = moved * by if module == written[-1] else moved
    reader = w[f"{read}.weight"][:, order]
    out[f"{read}.weight"] = reader / scale.reshape(1, -1, *(1,) * (reader.ndim - 2))
    return out


def _all_neurons(
    kind: str, w: Weights, draw: Draw, scales: Callable[[int], Array] | None
) -> Weights:
    gated = ["gate"] if kind == "decoder" else []
    places = [([at + x for x in (*gated, "up")], f"{at}down") for at in _blocks()]
    if kind == "cnn":
        places = [([f"conv.{k}"], f"conv.{k + 1}" if k < 2 else "head") for k in range(3)]
    for written, read in places:
        scale = scales(len(w[f"{written[0]}.weight"])) if scales else None
        w = _neurons(w, draw, written, read, scale)
    return w


def neurons_permuted(kind: str, w: Weights, draw: Draw) -> Weights:
    return _all_neurons(kind, w, draw, None)


def neurons_signed(kind: str, w: Weights, draw: Draw) -> Weights:
    return _all_neurons(kind, w, draw, lambda size: draw.choice([-1.0, 1.0], size))


def neurons_scaled(kind: str, w: Weights, draw: Draw) -> Weights:
    return _all_neurons(kind, w, draw, lambda size: np.exp(draw.normal(0, 0.5, size)))


def _heads(
    kind: str, w: Weights, change: Callable[[dict[str, Array], int, int], dict[str, Array]]
) -> Weights:
    """change: of q (groups, heads, 8, n), k and v (groups, 8, n), o (groups, heads, 8, n), biases
    beside the last axis."""
    groups = GROUPS if kind == "decoder" else HEADS
    each = HEADS // groups
    out = dict(w)
    for at in _blocks():
        held = {}
        for x in "qkv":
            own = w[f"{at}{x}.weight"]
            if f"{at}{x}.bias" in w:
                own = np.concatenate([own, w[f"{at}{x}.bias"][:, None]], axis=1)
            sides = (groups, each, HEAD, -1) if x == "q" else (groups, HEAD, own.shape[1])
            held[x] = own.reshape(sides)
        held["o"] = w[f"{at}o.weight"].T.reshape(groups, each, HEAD, -1)
        new = change(held, groups, each)
        for x in "qkv":
            own = new[x].reshape(-1, new[x].shape[-1])
            if f"{at}{x}.bias" in w:
                own, out[f"{at}{x}.bias"] = own[:, :-1], own[:, -1]
            out[f"{at}{x}.weight"] = own
        out[f"{at}o.weight"] = new["o"].reshape(groups * each * HEAD, -1).T
    return out


def heads_permuted(kind: str, w: Weights, draw: Draw) -> Weights:
    def change(h: dict[str, Array], groups: int, each: int) -> dict[str, Array]:
        order = draw.permutation(groups)
        h = {x: v[order] for x, v in h.items()}
        inside = draw.permutation(each)
        return h | {"q": h["q"][:, inside], "o": h["o"][:, inside]}

    return _heads(kind, w, change)


def _turned(kind: str, w: Weights, turn: Callable[[], Array], one: str, many: str) -> Weights:
    """one: what a group of heads shares, turned with what each of them has of its own, `many`."""

    def change(h: dict[str, Array], groups: int, each: int) -> dict[str, Array]:
        turns = np.stack([turn() for _ in range(groups)])
        shared = np.einsum("gij,gjn->gin", turns, h[one])
        return h | {one: shared, many: np.einsum("gij,gejn->gein", turns, h[many])}

    return _heads(kind, w, change)


def values_permuted(kind: str, w: Weights, draw: Draw) -> Weights:
    return _turned(kind, w, lambda: np.eye(HEAD)[draw.permutation(HEAD)], "v", "o")


def values_rotated(kind: str, w: Weights, draw: Draw) -> Weights:
    return _turned(kind, w, lambda: _rotation(draw, HEAD), "v", "o")


def queries_turned(kind: str, w: Weights, draw: Draw) -> Weights:
    """By any rotation of a head; with rotary positions, of each of its planes."""

    def turn() -> Array:
        if kind != "decoder":
            return _rotation(draw, HEAD)
        angle = draw.uniform(0, 2 * np.pi, HEAD // 2)
        cos, sin = np.diag(np.cos(angle)), np.diag(np.sin(angle))
        return np.block([[cos, -sin], [sin, cos]])

    return _turned(kind, w, turn, "k", "q")


def queries_scaled(kind: str, w: Weights, draw: Draw) -> Weights:
    def change(h: dict[str, Array], groups: int, each: int) -> dict[str, Array]:
        scale = np.exp(draw.normal(0, 0.5, groups))
        return h | {"q": h["q"] * scale[:, None, None, None], "k": h["k"] / scale[:, None, None]}

    return _heads(kind, w, change)


HIDES: dict[str, tuple[Hide, tuple[str, ...]]] = {
    "neurons permuted": (neurons_permuted, ("decoder", "encoder", "vit", "cnn")),
    "neurons signed": (neurons_signed, ("decoder",)),
    "neurons scaled": (neurons_scaled, ("decoder", "cnn")),
    "heads permuted": (heads_permuted, ("decoder", "encoder", "vit")),
    "values permuted": (values_permuted, ("decoder", "encoder", "vit")),
    "values rotated": (values_rotated, ("decoder", "encoder", "vit")),
    "queries turned": (queries_turned, ("decoder", "encoder", "vit")),
    "queries scaled": (queries_scaled, ("decoder", "encoder", "vit")),
    "channels permuted": (channels_permuted, ("decoder", "encoder", "vit", "cnn")),
    "channels signed": (channels_signed, ("decoder",)),
    "stream rotated": (stream_rotated, ("decoder",)),
    "norms folded": (norms_folded, ("decoder",)),
}
ALL = "all at once"


def hide(name: str, kind: str, w: Weights, seed: int) -> Weights:
    """The net under other labels, float32. ALL: all that its kind allows, one after the other."""
    draw = np.random.default_rng(seed)
    names = [n for n in HIDES if n != "norms folded"] if name == ALL else [name]
    for each in names:
        change, kinds = HIDES[each]
        if kind in kinds:
            w = change(kind, w, draw)
    return {n: np.ascontiguousarray(v, dtype=np.float32) for n, v in w.items()}


def hides(kind: str) -> list[str]:
    """Those that leave the function of a kind of net as it is."""
    return [*(n for n, (_, kinds) in HIDES.items() if kind in kinds), ALL]
