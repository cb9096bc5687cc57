"""Kinship that survives relabelling: the test, and what it undoes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments.hidden.labels import ALL, hide, hides
from experiments.hidden.nets import KINDS, blank, output

import mother
from mother.checkpoints import Checkpoint
from mother.checkpoints.memory import opened_one
from mother.checkpoints.tensor import constant
from mother.evidence.agreement import chance
from mother.evidence.hiding import find_hidden
from mother.evidence.relabelled import relabelling, tells
from mother.graph.verdict import of_edge
from mother.layouts import align
from mother.layouts.moves import Move, found, still
from mother.layouts.undoing import undone
from mother.layouts.units import turn
from mother.layouts.wiring import chain_of, stream_of


def net(kind, seed=0):
    """A net with all its weights drawn, those too that start as ones or zeros."""
    draw = np.random.default_rng(seed)
    weights = blank(kind, seed)
    return {n: w.numpy() + 0.1 * draw.standard_normal(w.shape, "f4") for n, w in weights.items()}


def changed(weights, share, seed=1):
    draw = np.random.default_rng(seed)

    def noisy(w):
        return w + share * np.linalg.norm(w) / math.sqrt(w.size) * draw.standard_normal(w.shape)

    return {n: noisy(w).astype("f4") for n, w in weights.items()}


def off(seen, weights):
    """How far a model is from weights, in the worst of its matrices."""
    read = {n: t.read().reshape(t.shape) for n, t in seen.tensors.items() if n in weights}
    return max(
        float(np.linalg.norm(w - weights[n]) / np.linalg.norm(weights[n]))
        for n, w in read.items()
        if w.ndim > 1
    )


def test_chance_is_counted():
    """Against all pairs of placements."""
    for units, among in ((3, 3), (2, 4), (4, 4)):
        places = list(itertools.permutations(range(among), units))
        alike = [sum(a == b for a, b in zip(p, places[0], strict=True)) for p in places]
        for k in range(units + 1):
            many = sum(x >= k for x in alike) / len(alike)
            assert chance(k, units, among) == pytest.approx(many)


def test_chance_of_all_is_that_of_one_order():
    assert chance(64, 64, 64) == pytest.approx(1 / math.factorial(64), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_change_no_function(kind):
    weights = net(kind)
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 128, (2, 9), generator=draw)
    if kind in ("vit", "cnn"):
        x = torch.rand(2, 8, 8, generator=draw)
    whole = output(kind, {n: torch.tensor(w) for n, w in weights.items()}, x)
    for name in hides(kind):
        other = {n: torch.tensor(w) for n, w in hide(name, kind, weights, 1).items()}
        assert torch.allclose(output(kind, other, x), whole, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_hides_is_undone(kind):
    """Exactly where units were permuted or flipped, to rounding elsewhere; and after a change, up
    to the change."""
    weights = net(kind)
    own = opened_one(weights, id="own")
    for name in hides(kind):
        other = hide(name, kind, weights, 2)
        exact = opened_one(other, id="other")
        assert relabelling(own.tensors, exact.tensors).is_kin(), name
        assert off(undone(own, exact).seen(exact), weights) < (0.1 if name == ALL else 1e-5), name
    tuned = opened_one(changed(other, 0.05), id="tuned")
    assert relabelling(own.tensors, tuned.tensors).is_kin()
    assert off(undone(own, tuned).seen(tuned), weights) < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_strangers_are_told_where_the_test_can_tell(kind):
    one, other = (opened_one(net(kind, seed), id=str(seed)).tensors for seed in (0, 1))
    test = relabelling(one, other)
    assert not test.is_kin()
    assert test.p > 1e-4
    assert tells(one)
    assert mother.compare(net(kind, 0), net(kind, 1)).relation == "strangers"


def test_too_few_units_tell_nothing():
    small = [
        {f"{k}.weight": np.random.default_rng(s + k).standard_normal((6, 6)) for k in range(3)}
        for s in (0, 10)
    ]
    found = mother.compare(*small)
    assert found.relation == "no kinship found"
    assert "too few units" in found.evidence[-1].says


def test_compare_says_what_was_undone():
    weights = net("decoder")
    tuned = changed(hide("stream rotated", "decoder", weights, 3), 0.05)
    found = mother.compare(weights, tuned)
    assert found.relation not in ("strangers", "no kinship found")
    assert "stream rotated" in found.relabelled.undone
    assert found.relabelled.p < 1e-20
    assert found.evidence[0].kind == "relabelled"
    assert found.distance == pytest.approx(0.05, rel=0.3)
    copy = mother.compare(weights, hide("channels permuted", "decoder", weights, 3))
    assert (copy.relation, copy.parent) == ("converted", None)
    assert copy.scheme == "relabelled: units permuted"


def test_a_hidden_child_finds_its_parent():
    base = net("decoder")
    models = {f"kid{k}": changed(base, 0.1, k + 1) for k in range(3)}
    models["grandkid"] = changed(models["kid1"], 0.05, 9)
    hidden = hide(ALL, "decoder", models["kid2"], 5)
    graph = mother.recover({**models, "base": base, "kid2": hidden, "other": net("decoder", 7)})
    assert {(e.parent, e.child) for e in graph.edges} == {
        ("base", "kid0"),
        ("base", "kid1"),
        ("base", "kid2"),
        ("kid1", "grandkid"),
    }
    (note,) = graph.node("kid2").notes
    assert note.startswith("compared in the coordinates of 'base'; undone: ")
    (edge,) = (e for e in graph.edges if e.child == "kid2")
    assert edge.relabelled.p < 1e-20
    assert edge.relabelled.tried == 3  # three families at a glance
    assert "stream rotated" in edge.relabelled.undone
    assert not any(e.relabelled for e in graph.edges if e != edge)
    assert mother.ModelGraph.from_json(graph.to_json()) == graph
    assert '"relabelled"' not in mother.recover(models).to_json()
    assert any(f.startswith("kin under other labels, p = ") for f in of_edge(edge).figures)


@pytest.mark.parametrize("name", ["neurons permuted", "values rotated", "queries turned"])
def test_what_is_hidden_in_part_is_undone(name):
    """Most layers lie where names have them: the others are found, and what is new stays."""
    base, kid = net("decoder"), changed(net("decoder"), 0.1)
    kid["layers.1.up.weight"] = net("decoder", 7)["layers.1.up.weight"]
    models = [opened_one(base, id="base"), opened_one(hide(name, "decoder", kid, 3), id="kid")]
    (found,) = find_hidden(align(models)[0])
    rest = {n: w for n, w in kid.items() if not n.startswith("layers.1.")}
    assert off(found.seen, rest) < 0.1
    assert not any(n.endswith("(not found)") for n in found.seen.tensors)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_neurons_that_were_scaled_alone_are_scaled_back(share):
    """They are alike where they are; only the distance is another."""
    base = net("decoder")
    kid = changed(base, share)
    models = {"base": base, "other": changed(base, share, 2)}
    plain = mother.recover(models | {"kid": kid}, bootstrap=0)
    graph = mother.recover(models | {"kid": hide("neurons scaled", "decoder", kid, 5)}, bootstrap=0)
    assert {(e.parent, e.child) for e in graph.edges} == {(e.parent, e.child) for e in plain.edges}
    told, before = (
        next(e for e in g.edges if "kid" in (e.parent, e.child)) for g in (graph, plain)
    )
    assert told.relabelled.undone == ("units scaled",)
    assert told.distance == pytest.approx(before.distance, rel=0.05)


@pytest.mark.parametrize("part", ["gate", "up", "norm"])
def test_lengths_that_training_changed_stay(part):
    """Of one of the matrices alone that hold the units."""
    base = net("decoder")
    draw = np.random.default_rng(4)
    kid = {
        n: w * np.exp(draw.normal(0, 0.3, (len(w), *[1] * (w.ndim - 1)))) if part in n else w
        for n, w in changed(base, 0.05).items()
    }
    models = [opened_one(w, id=id_) for id_, w in (("base", base), ("kid", kid))]
    assert find_hidden(align(models)[0]) == []


def test_half_of_the_heads_moved():
    base, kid = net("encoder"), changed(net("encoder"), 0.1)
    models = [opened_one(base, id="base"), opened_one(_swapped(kid), id="kid")]
    (found,) = find_hidden(align(models)[0])
    assert off(found.seen, kid) < 0.1


def _swapped(weights):
    """The first two of four heads in all blocks."""
    order = np.concatenate([np.arange(8, 16), np.arange(8), np.arange(16, 32)])
    out = dict(weights)
    for name in weights:
        part = name.split(".")[-2]
        if part in ("q", "k", "v"):
            out[name] = weights[name][order]
        elif part == "o" and name.endswith("weight"):
            out[name] = weights[name][:, order]
    return out


def chain(seed=0):
    """Kernels, maps unrolled, and two dense layers."""
    draw = np.random.default_rng(seed)
    shapes = ((16, 3, 3, 3), (32, 16, 3, 3), (24, 32, 3, 3), (48, 24 * 4), (10, 48))
    return {f"{k}.weight": draw.standard_normal(shape, "f4") for k, shape in enumerate(shapes)}


def test_a_chain_hidden_in_part_is_no_chain_with_layers_made_anew():
    base, kid = chain(), changed(chain(), 0.1)
    order = np.random.default_rng(2).permutation(32)
    moved = {"1.weight": kid["1.weight"][order], "2.weight": kid["2.weight"][:, order]}
    anew = {name: chain(7)[name] for name in moved}
    models = [opened_one(base, id="base"), opened_one(kid | moved, id="kid")]
    (found,) = find_hidden(align(models)[0])
    assert off(found.seen, kid) < 1e-6
    models = [opened_one(base, id="base"), opened_one(kid | anew, id="kid")]
    assert find_hidden(align(models)[0]) == []


def test_maps_unrolled_are_followed():
    order = np.random.default_rng(2).permutation(24)
    other = changed(chain(), 0.1)
    last = other["3.weight"].reshape(48, 24, 4)[:, order].reshape(48, 96)
    other |= {"2.weight": other["2.weight"][order], "3.weight": last}
    one, two = (opened_one(w, id="x").tensors for w in (chain(), other))
    assert [axis.alike == axis.units for axis in relabelling(one, two).axes] == [True] * 4


def test_a_channel_that_is_read_flipped():
    """A norm's scales may have either sign, if what reads them has it, too."""
    base = net("decoder")
    kid = changed(base, 0.05)
    for k in (0, 1):
        signs = np.random.default_rng(k).choice([-1.0, 1.0], 32).astype("f4")
        for name in ("norm2", "gate", "up"):
            kid[f"layers.{k}.{name}.weight"] = kid[f"layers.{k}.{name}.weight"] * signs
    hidden = opened_one(hide("channels permuted", "decoder", kid, 3), id="kid")
    own = opened_one(base, id="base")
    assert relabelling(own.tensors, hidden.tensors).alike == 1
    assert off(undone(own, hidden).seen(hidden), base) < 0.1


def test_a_vocabulary_in_another_order():
    """Which channel is which is told by how long each matrix is in it."""
    base, order = net("decoder"), np.random.default_rng(4).permutation(128)
    kid = hide("channels permuted", "decoder", changed(base, 0.05), 3)
    kid |= {name: kid[name][order] for name in ("embed.weight", "head.weight")}
    found = mother.compare(base, kid)
    assert found.distance == pytest.approx(0.05, rel=0.1)
    assert found.relabelled.p < 1e-20


def test_one_expert_that_is_known_makes_kin():
    """The others stand elsewhere, which is not undone; strangers they are not."""
    base = {"embed.weight": np.random.default_rng(0).standard_normal((100, 32), "f4")}
    for name, shape in (("up", (48, 32)), ("down", (32, 48))):
        for k in range(4):
            draw = np.random.default_rng((k, len(name)))
            base[f"experts.{k}.{name}.weight"] = draw.standard_normal(shape, "f4")
    other = changed(base, 0.1)
    for name in ("up", "down"):
        one, two, three = (other[f"experts.{k}.{name}.weight"] for k in (1, 2, 3))
        moved = {f"experts.{k}.{name}.weight": w for k, w in ((1, two), (2, three), (3, one))}
        other |= moved
    order = np.random.default_rng(2).permutation(48)
    other["experts.0.up.weight"] = other["experts.0.up.weight"][order]
    other["experts.0.down.weight"] = other["experts.0.down.weight"][:, order]
    assert mother.compare(base, other).relation not in ("strangers", "no kinship found")


def test_who_share_layers_are_no_strangers():
    kid = chain(7) | {name: changed(chain(), 0.1)[name] for name in ("0.weight", "1.weight")}
    found = mother.compare(chain(), kid)
    assert found.relation == "no kinship found"
    assert "some layers are alike" in found.evidence[-1].says


@pytest.mark.parametrize("far", [0.1, 0.9])
def test_layers_made_anew_hide_nothing(far):
    """However far the others are: in place they are alike by 0.99, or by 0.74."""
    base, kid = net("decoder"), changed(net("decoder"), far)
    for part in ("gate", "up", "down"):
        kid[f"layers.1.{part}.weight"] = net("decoder", 7)[f"layers.1.{part}.weight"]
    assert find_hidden(align([opened_one(base, id="base"), opened_one(kid, id="kid")])[0]) == []


def test_a_hidden_family_keeps_its_tree():
    """Relatives under the same other labels are moved together."""
    base = net("vit")
    kids = {f"kid{k}": changed(base, 0.1, k + 1) for k in range(3)}
    late = {f"late{k}": changed(kids["kid0"], 0.05, k + 20) for k in range(2)}
    hidden = {n: hide("channels permuted", "vit", w, 4) for n, w in late.items()}
    graph = mother.recover({"base": base, **kids, **hidden})
    assert {graph.parent(n) for n in late} == {"kid0"}
    copies = mother.recover({"base": base, "copy": hide("channels permuted", "vit", base, 4)})
    (edge,) = copies.edges
    assert (edge.relation, edge.undirected) == ("converted", True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_units_that_nothing_tells_apart_make_no_kin(kind, value):
    """Neither in one of two models nor in both."""
    flat = {n: np.full_like(w, value) for n, w in net(kind).items()}
    for weights in (net(kind), flat):
        one, other = (opened_one(w, id="x").tensors for w in (weights, flat))
        assert not relabelling(one, other).is_kin()


def test_a_turn_is_found_from_labels():
    draw = np.random.default_rng(0)
    rows, spin = draw.normal(size=(100, 8)), np.linalg.qr(draw.normal(size=(8, 8)))[0]
    assert np.allclose(turn(rows, rows @ spin) @ spin.T @ spin, spin.T, atol=1e-6)


def test_moves_are_found():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(24, 64))
    order, sign = draw.permutation(24), draw.choice([-1.0, 1.0], 24)
    alike, move = found(rows[order] * sign[:, None], rows)
    assert alike == pytest.approx(1)
    assert np.allclose(move.of(rows), rows[order] * sign[:, None])
    heads = rows.reshape(6, 4, 64)[draw.permutation(6)]
    turns = np.stack([np.linalg.qr(draw.normal(size=(4, 4)))[0] for _ in range(6)])
    mixed = np.einsum("hij,hjk->hik", turns, heads).reshape(24, 64)
    alike, move = found(mixed, rows)
    assert move.mixed.shape == (6, 4, 4)
    assert np.allclose(move.of(rows), mixed)
    assert Move(np.arange(3), np.ones(3)).is_none
    assert still(3).is_none


def test_wirings_are_read_from_shapes():
    shapes = {
        "tok": (99, 8),
        "h.0.k": (4, 8),
        "h.0.in": (32, 8),
        "h.0.out": (8, 32),
        "head": (9, 8),
    }
    shapes |= {"h.1.k": (4, 8), "h.1.in": (32, 8), "h.1.out": (8, 32)}
    found = stream_of(shapes)
    assert found.width == 8
    assert set(found.labelled) == {"tok", "head"}
    assert [h.written for h in found.hidden] == [("h.0.in",), ("h.1.in",)]
    assert stream_of({"a": (8, 4), "b": (4, 8)}) is None
    chain = chain_of({"fc": (10, 32), "conv1": (16, 3, 3, 3), "conv2": (32, 16, 3, 3)})
    assert chain.matrices == ("conv1", "conv2", "fc")


def test_models_of_vectors_alone_hide_nothing():
    rng = np.random.default_rng(0)
    models = [
        Checkpoint(id, Path(id), "npz", {"w": constant("w", rng.normal(size=300))}) for id in "ab"
    ]
    assert find_hidden(align(models)[0]) == []
