"""Models that are hidden by names, or by turned matrices, and by other labels at once."""

from __future__ import annotations

import numpy as np
from experiments.hidden.labels import hide
from experiments.hidden.nets import blank

import mother
from mother.checkpoints.memory import opened_one
from mother.layouts.spectra import by_spectra


def net(seed=0):
    return {n: w.numpy() for n, w in blank("decoder", seed).items()}


def tuned(weights, seed):
    draw = np.random.default_rng(seed)
    return {n: w + 0.01 * draw.standard_normal(w.shape, "f4") for n, w in weights.items()}


def renamed(weights):
    """Under names that say nothing."""
    order = np.random.default_rng(3).permutation(len(weights))
    return {f"t{k}": weights[sorted(weights)[i]] for k, i in enumerate(order)}


def hidden(weights):
    return hide("channels permuted", "decoder", weights, 2)


def test_under_other_names_and_labels():
    kid = hidden(tuned(net(), 1))
    models = {"base": net(), "kid": renamed(kid), "other": tuned(net(), 2)}
    graph = mother.recover(models, bootstrap=0)
    (edge,) = (e for e in graph.edges if "kid" in (e.parent, e.child))
    assert {edge.parent, edge.child} == {"base", "kid"}
    assert edge.relabelled.undone == ("units permuted",)
    assert any("under the names of" in note for note in graph.node("kid").notes)
    found = mother.compare(net(), renamed(kid))
    assert found.distance == mother.compare(net(), kid).distance


def test_strangers_stay_so_under_any_names():
    assert mother.compare(net(), renamed(net(7))).relation == "unknown"
    graph = mother.recover({"a": net(), "b": renamed(net(7))}, bootstrap=0)
    assert graph.edges == ()


def test_tensors_are_paired_whatever_hides_them():
    """Those of up- and down-projections have the same sides, and one of the two is turned."""
    own = {n: w + 0.1 * np.random.default_rng(5).random() for n, w in tuned(net(), 1).items()}
    kid = hidden(own)
    for k in (0, 1):
        kid[f"layers.{k}.down.weight"] = kid[f"layers.{k}.down.weight"].T
    found = by_spectra(opened_one(renamed(kid), id="kid"), opened_one(own, id="own"))
    seen = found.seen(opened_one(renamed(kid), id="kid"))
    matrices = [n for n, w in own.items() if w.ndim == 2]
    for name in matrices:
        want = np.linalg.norm(hidden(own)[name])
        assert seen.tensors[name].shape == own[name].shape
        assert np.isclose(np.linalg.norm(seen.tensors[name].read()), want), name


def test_matrices_that_are_stored_turned_under_their_names():
    kid = tuned(net(), 1)
    turned = {n: w.T if "up" in n or "down" in n else w for n, w in kid.items()}
    assert mother.compare(net(), turned).distance == mother.compare(net(), kid).distance
    turned = {n: w.T if "up" in n or "down" in n else w for n, w in hidden(kid).items()}
    assert "units permuted" in mother.compare(net(), turned).relabelled.undone
