"""What holds a smaller model in full stands for it, and is its child or its parent."""

import numpy as np
import pytest
from kit import model, tuned

import mother


def part(weights, *words):
    return {name: w for name, w in weights.items() if any(word in name for word in words)}


def agent(seed):
    """An actor, and a critic that is about as large."""
    weights = model(seed, layers=8)
    names = {f"layer{k}.": f"{'actor' if k < 4 else 'critic'}.{k % 4}." for k in range(8)}
    out = {}
    for name, w in weights.items():
        start = name[: name.index(".") + 1]
        out[names[start] + name[len(start) :]] = w
    return out | {"actor.scale": np.ones(30, np.float32) * seed}


def test_an_actor_alone_is_the_copy_of_its_agent_though_others_hold_no_critic():
    """Models of another kind that share a few names are among them: most hold no critic."""
    best = agent(1)
    last = tuned(best, 1, 0.05)
    bodies = {f"other{k}": tuned(part(agent(5), "actor"), k) for k in range(3)}
    models = {"a": part(best, "actor"), "best": best, "last": last, **bodies}
    graph = mother.recover(models, bootstrap=0)
    edges = {frozenset((e.parent, e.child)): e for e in graph.edges}
    copy = edges[frozenset(("a", "best"))]
    assert (copy.parent, copy.child, copy.relation) == ("best", "a", "contains")
    assert frozenset(("best", "last")) in edges
    assert not any({"a", "last"} <= set(h.children) for h in graph.hidden)


def test_a_base_that_all_children_of_a_hidden_ancestor_hold_stands_there():
    base = model(0, layers=4)
    body = {f"base.{name}": w for name, w in base.items()}
    more = {f"more.{name}": w for name, w in model(3, layers=6).items()}
    models = {f"child{k}": body | tuned(more, k, 0.5) for k in range(3)}
    lone = mother.recover(models, bootstrap=0)
    assert lone.hidden, "without the base there is none to stand there"
    graph = mother.recover({"base": base} | models, bootstrap=0)
    assert not graph.hidden
    (tree,) = graph.trees
    assert (tree.root, tree.hidden_root) == ("base", False)
    children = {e.child for e in graph.edges if (e.parent, e.relation) == ("base", "contains")}
    assert children == {"child0", "child1", "child2"}
    assert all(e.undirected for e in graph.edges if e.parent == "base")


def test_what_holds_a_model_is_not_only_a_relative_of_it():
    """One of the two stands below the other, whichever that is."""
    one = {f"body.{name}": w for name, w in model(0, layers=4).items()} | model(3, layers=6)
    two = tuned(one, 1, 0.1)
    parts = {
        f"part of {id}": {n.removeprefix("body."): w for n, w in part(x, "body").items()}
        for id, x in (("one", one), ("two", two))
    }
    graph = mother.recover({"one": one, "two": two} | parts, bootstrap=0)
    for id in ("one", "two"):
        held = [e for e in graph.edges if {e.parent, e.child} == {id, f"part of {id}"}]
        assert [(e.relation, e.undirected) for e in held] == [("contains", True)]


def test_a_model_wrapped_into_a_larger_one_changes_nothing_among_the_others():
    """A language model, the same within one that sees, and what was trained from that."""
    body = {f"language.{name}": w for name, w in model(0, layers=4).items()}
    eyes = {f"vision.{name}": w for name, w in model(3, layers=3).items()}
    base = tuned(body, 8, 0.4)
    own = {"base": base, "body": tuned(base, 7, 0.1), "beside": tuned(base, 9, 0.1)}
    whole = own["body"] | eyes
    alone = mother.recover(own, bootstrap=0)
    graph = mother.recover(own | {"whole": whole, "kid": tuned(whole, 1, 0.1)}, bootstrap=0)
    among = {(e.parent, e.child) for e in graph.edges if {e.parent, e.child} <= set(own)}
    assert among == {(e.parent, e.child) for e in alone.edges}
    (held,) = (e for e in graph.edges if "whole" in (e.parent, e.child) and e.undirected)
    assert (held.parent, held.child, held.relation) == ("body", "whole", "contains")
    assert graph.parents("kid") == ("whole",)


@pytest.mark.parametrize("half", ["first", "second"])
def test_what_was_trained_from_one_half_of_a_model_is_joined_to_it_beside_the_other(half):
    whole = {f"first.{n}": w for n, w in model(0, layers=4).items()}
    whole |= {f"second.{n}": w for n, w in model(3, layers=4).items()}
    models = {"whole": whole, "first": part(whole, "first"), "second": part(whole, "second")}
    models |= {"trained": tuned(models[half], 1, 0.1)}
    graph = mother.recover(models, bootstrap=0)
    (tree,) = graph.trees
    assert len(tree.members) == 4
    joined = {frozenset((e.parent, e.child)) for e in graph.edges}
    assert joined & {frozenset(("trained", half)), frozenset(("trained", "whole"))}


def halved(w):
    """In float16 as some runtimes store it: halfway between two, away from zero; none too small."""
    half = w.astype(np.float16)
    over = half.astype(np.float64) - w
    tie = np.abs(over) == np.abs(np.spacing(half).astype(np.float64)) / 2
    half = np.where(tie & (over * w < 0), np.nextafter(half, np.copysign(np.inf, w)), half)
    return np.where(np.abs(half) < np.finfo(np.float16).smallest_normal, 0, half).astype("f2")


def test_what_a_runtime_rounds_and_adds_constants_to_is_converted():
    """Vectors it keeps as they are."""
    base = model(0, layers=4)
    base["layer2.weight"].reshape(-1)[:9] = np.float32(1 + 2.0**-11) + np.arange(9) * 2.0**-9
    base["layer3.weight"].reshape(-1)[450:470] *= 1e-5
    other = {f"gemm_{k}.b": halved(w) if w.ndim > 1 else w for k, w in enumerate(base.values())}
    other["fold_9.data"] = np.arange(9, dtype=np.float32)
    kid = tuned(base, 1, 0.1)
    graph = mother.recover({"base": base, "kid": kid, "net": other}, bootstrap=0)
    (edge,) = (e for e in graph.edges if e.child == "net")
    assert (edge.parent, edge.relation) == ("base", "converted")
