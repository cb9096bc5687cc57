"""What an edit or a formula made of a model has the right parent; a low rank is where one is."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import mother

WIDTH, BLOCKS = 96, 4
KINDS = {"q": (WIDTH, WIDTH), "o": (WIDTH, WIDTH), "up": (2 * WIDTH, WIDTH), "norm": (WIDTH,)}


def base(rng):
    model = {
        f"layers.{k}.{kind}.weight": rng.standard_normal(shape) / 10 + (kind == "norm")
        for k in range(BLOCKS)
        for kind, shape in KINDS.items()
    }
    return model | {"embed.weight": rng.standard_normal((400, WIDTH)) / 10}


def tuned(model, rng, size=0.05, only=""):
    return {
        name: w + size / 10 * rng.standard_normal(w.shape) if only in name else w
        for name, w in model.items()
    }


def without(model, direction):
    """The direction out of all that is written to the residual stream."""
    u = direction / np.linalg.norm(direction)
    cut = {n: w - np.outer(u, u @ w) for n, w in model.items() if ".o." in n or ".q." in n}
    cut["embed.weight"] = model["embed.weight"] - np.outer(model["embed.weight"] @ u, u)
    return model | cut


def recovered(folder, models, kind=np.float32):
    folder.mkdir(exist_ok=True)
    for name, model in models.items():
        if kind == "bfloat16":
            import safetensors.torch

            stored = {n: torch.tensor(w).to(torch.bfloat16) for n, w in model.items()}
            safetensors.torch.save_file(stored, folder / f"{name}.safetensors")
        else:
            stored = {n: np.ascontiguousarray(w, dtype=kind) for n, w in model.items()}
            save_file(stored, folder / f"{name}.safetensors")
    graph = mother.recover(folder, bootstrap=0)
    return {e.child: (e.parent, e.relation) for e in graph.edges}, graph


@pytest.mark.parametrize("kind", [np.float32, "bfloat16"], ids=["float32", "bfloat16"])
def test_a_direction_taken_out_makes_a_copy_and_no_root(tmp_path, kind):
    rng = np.random.default_rng(1)
    o = base(rng)
    a, b = tuned(o, rng), tuned(o, rng)
    cut = without(a, rng.standard_normal(WIDTH))
    models = {"o": o, "a": a, "b": b, "a-cut": cut, "c": tuned(a, rng)}
    edges, graph = recovered(tmp_path, models, kind)
    assert edges["a-cut"] == ("a", "edited")
    assert edges["a"][0] == edges["b"][0] == "o"
    assert edges["c"][0] == "a"
    (tree,) = graph.trees
    assert tree.root == "o"


def test_what_was_trained_from_it_hangs_from_it(tmp_path):
    rng = np.random.default_rng(2)
    o = base(rng)
    cut = without(o, rng.standard_normal(WIDTH))
    models = {"o": o, "cut": cut, "kid": tuned(cut, rng), "a": tuned(o, rng)}
    edges, _ = recovered(tmp_path, models)
    assert edges == {
        "cut": ("o", "edited"),
        "kid": ("cut", "fine-tune"),
        "a": ("o", "fine-tune"),
    }


def test_a_fact_edited_in_one_matrix_is_an_edit(tmp_path):
    rng = np.random.default_rng(3)
    o = base(rng)
    name = "layers.2.up.weight"
    step = np.outer(rng.standard_normal(2 * WIDTH), rng.standard_normal(WIDTH)) / 100
    models = {"o": o, "a": tuned(o, rng), "fact": o | {name: o[name] + step}}
    edges, _ = recovered(tmp_path, models)
    assert edges["fact"] == ("o", "edited")


def low_rank(model, rng, rank, kinds):
    def step(w):
        left, right = (
            rng.standard_normal((w.shape[0], rank)),
            rng.standard_normal((rank, w.shape[1])),
        )
        return 0.005 * left @ right

    return {n: w + step(w) if any(k in n for k in kinds) else w for n, w in model.items()}


@pytest.mark.parametrize("kind", [np.float32, "bfloat16"], ids=["float32", "bfloat16"])
def test_a_low_rank_is_said_only_where_it_is(tmp_path, kind):
    """LoRA against full fine-tuning, a head alone, new tokens, and matrices tuned in part."""
    rng = np.random.default_rng(4)
    o = base(rng)
    tokens = o["embed.weight"].copy()
    tokens[-20:] += rng.standard_normal((20, WIDTH)) / 20
    models = {
        "o": o,
        "lora": low_rank(o, rng, 4, (".q.", ".o.")),
        "full": {
            n: w if "norm" in n else w + 0.01 * rng.standard_normal(w.shape) for n, w in o.items()
        },
        "head": tuned(o, rng, 0.1, only="embed"),
        "tokens": o | {"embed.weight": tokens},
        "attention": tuned(o, rng, 0.1, only=".q."),
    }
    edges, graph = recovered(tmp_path, models, kind)
    assert edges["lora"] == ("o", "lora")
    assert next(e.rank for e in graph.edges if e.child == "lora") == 4
    for name in ("full", "head", "tokens", "attention"):
        assert edges[name][1] == "fine-tune", name
