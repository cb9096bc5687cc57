"""Layers whose names differ by a running number are the same layer."""

import json

import numpy as np
import pytest
from kit import checkpoint, run, save, tuned

from mother.layouts import align
from mother.layouts.numbered import under_one_numbering

WIDTHS = [(6, 40), (40, 40), (40, 30), (30, 5)]


def net(*paths, shapes=WIDTHS, seed=0):
    """Weights of a network whose layers lie at these paths."""
    draw = np.random.default_rng(seed)
    out = {}
    for path, shape in zip(paths, shapes, strict=True):
        out[f"{path}/kernel:0"] = draw.standard_normal(shape).astype(np.float32)
        out[f"{path}/bias:0"] = draw.standard_normal(shape[1:]).astype(np.float32)
    return out


def keys(weights):
    return sorted((name, x.shape) for name, x in weights.items())


def flat(first):
    names = [f"dense_{k}" if k else "dense" for k in range(first, first + 4)]
    return [f"model_weights/{n}/{n}" for n in names]


def nested(first, outer):
    return [f"model_weights/dense_{k}/{outer}/dense_{k}" for k in range(first, first + 4)]


def scoped(run):
    return [f"model_weights/dense_{k}/dense_{k}_{run}" for k in range(4)]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (flat(0), flat(4)),
        (flat(8), flat(9)),  # across two digits: 11 comes after 9, not after 10 as a word
        (nested(12, "sequential_4"), nested(24, "sequential_8")),
        (scoped(1), scoped(14)),
        (flat(0), [path.removeprefix("model_weights/") for path in flat(7)]),
    ],
    ids=["flat", "overlapping", "nested", "scoped", "prefix"],
)
def test_one_network_made_twice(one, two):
    models = [checkpoint("a", net(*one)), checkpoint("b", net(*two))]
    for pair in (models, models[::-1]):
        (group,) = align(pair)
        assert [layer.members for layer in group.layers] == [(0, 1)] * 8
        held = [{t.name.rsplit("/", 2)[-1] for t in layer.tensors} for layer in group.layers]
        assert all(len(names) == 1 for names in held)
        assert all(np.array_equal(*(t.read() for t in layer.tensors)) for layer in group.layers)
        assert len(set(group.architecture)) == 1


def test_a_new_head_may_have_other_classes():
    other = net(*flat(4), shapes=[*WIDTHS[:3], (30, 9)])
    (group,) = align([checkpoint("a", net(*flat(0))), checkpoint("b", other)])
    assert [layer.members for layer in group.layers] == [(0, 1)] * 6
    assert group.unaligned[1][1].endswith("of shape (30, 9) here, (30, 5) elsewhere")


@pytest.mark.parametrize(
    "two",
    [
        net(*flat(0)[:2], *flat(0)[3:], shapes=[WIDTHS[k] for k in (0, 1, 3)]),  # one less
        net(*flat(0)[:3], "model_weights/dense_9/dense_9"),  # all but the head are the same
        net(*flat(4), shapes=WIDTHS[::-1]),  # in another order
        net("block1_conv1/x", "block2_conv1/x", "block3_conv1/x", "block4_conv1/x"),
    ],
    ids=["fewer", "head", "order", "names"],
)
def test_names_stay_where_order_or_shapes_do_not_agree(two):
    every = [keys(net(*flat(0))), keys(two)]
    assert under_one_numbering(every) == [{name: name for name, _ in one} for one in every]


def test_what_lacks_different_layers_keeps_its_names():
    square = [(40, 40)] * 3
    whole = flat(0)
    lacks = [net(*(whole[k] for k in kept), shapes=square) for kept in ([0, 1, 3], [0, 2, 3])]
    found = under_one_numbering([keys(one) for one in lacks])
    assert all(name == stored for names in found for stored, name in names.items())


def test_names_may_be_anything():
    long = "9" * 5000
    for name in ("/", "//", "_1/_2/_3", f"a_{long}/w", "a_²/w", "_" * 1000 + "/w", ""):
        assert under_one_numbering([[(name, (2,))], [("x_1/w", (2,))]])[0] == {name: name}


def test_recover_compare_and_the_index_see_one_network(tmp_path):
    base = net(*flat(12))
    child = dict(zip(net(*flat(24)), tuned(base, 1, 0.05).values(), strict=True))
    paths = [
        save(tmp_path / f"{id}.safetensors", x) for id, x in (("base", base), ("child", child))
    ]
    compared = run("compare", *paths, "--json")
    assert json.loads(compared.out)["compared"] == [1.0, 1.0], compared
    recovered = run("recover", *paths, "-o", tmp_path / "graph.json")
    assert "2 models in 1 tree" in recovered.out, recovered
    index = tmp_path / "models.index"
    assert run("index", "create", index).code == 0
    assert run("index", "add", index, *paths).code == 0
    for command in ("export", "recover"):
        graph = tmp_path / f"{command}.json"
        done = run("index", command, index, "-o", graph)
        assert edges(json.loads(graph.read_text())) == {frozenset(("base", "child"))}, done


def edges(graph):
    return {frozenset((edge["parent"], edge["child"])) for edge in graph["edges"]}
