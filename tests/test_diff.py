"""What changed from one graph to another."""

from __future__ import annotations

import json
from dataclasses import replace

from test_cli import run

from mother.cli.diff import lines
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Tree, WeightFile
from mother.graph.diff import Difference, difference


def node(id_, digest=None):
    return Node(id_, id_, "npz", "a", 10, files=(WeightFile(f"{id_}.npz", 5, digest),))


def graph(nodes, edges):
    trees = (Tree(nodes[0].id, tuple(n.id for n in nodes)),)
    return ModelGraph("gram", tuple(nodes), tuple(edges), trees, options={"bootstrap": 100})


OLD = graph(
    [node("base", "a" * 64), node("kid", "b" * 64), node("lost"), node("old-name", "c" * 64)],
    [
        Edge("base", "kid", "fine-tune", direction_probability=0.6, undirected=True),
        Edge("base", "lost", "lora"),
        Edge("kid", "old-name", "lora", direction_probability=0.95),
    ],
)
NEW = graph(
    [node("base", "d" * 64), node("kid", "b" * 64), node("new"), node("new-name", "c" * 64)],
    [
        Edge("base", "kid", "fine-tune", direction_probability=0.97, support=1.0),
        Edge("base", "new", "lora"),
        Edge("new-name", "kid", "lora", direction_probability=0.95),
    ],
)


def test_every_kind_of_change():
    found = difference(OLD, NEW)
    assert found.added == ("new",)
    assert found.gone == ("lost",)
    assert found.renamed == (("old-name", "new-name"),)
    assert found.replaced == ("base",)
    assert [(e.parent, e.child) for e in found.gained] == [("base", "new")]
    assert [(e.parent, e.child) for e in found.lost] == [("base", "lost")]
    assert [(e.parent, e.child) for e in found.turned] == [("new-name", "kid")]
    assert [(r.before.undirected, r.now.undirected) for r in found.regraded] == [(True, False)]


def test_hidden_ancestors_that_came_and_went():
    old = replace(OLD, hidden=(HiddenAncestor("hidden:1", ("lost", "old-name")),))
    new = replace(NEW, hidden=(HiddenAncestor("hidden:1", ("new", "new-name")),))
    found = difference(old, new)
    assert (found.inferred, found.dropped) == (new.hidden, old.hidden)
    assert [line for line in lines(found, new) if "hidden" in line] == [
        "+ hidden ancestor of new and new-name: likely: inferred from what new and new-name have "
        "in common; not among the inputs",
        "- hidden ancestor of lost and old-name: no longer inferred",
    ]
    kept = replace(OLD, hidden=(HiddenAncestor("hidden:1", ("kid", "old-name")),))
    same = replace(NEW, hidden=(HiddenAncestor("hidden:2", ("kid", "new-name")),))
    assert (difference(kept, same).inferred, difference(kept, same).dropped) == ((), ())


def test_two_that_nothing_tells_apart_may_be_drawn_the_other_way():
    ends = [node("base"), node("kid")]
    for known in (
        {"relation": "fine-tune", "direction_probability": 0.6, "undirected": True},
        {"relation": "duplicate"},
        {"relation": "converted", "undirected": True},
    ):
        old, new = (
            graph(ends, [Edge(*pair, **known)]) for pair in (("base", "kid"), ("kid", "base"))
        )
        assert difference(old, new) == Difference()
        told = graph(ends, [Edge("kid", "base", "fine-tune", direction_probability=0.97)])
        assert len(difference(old, told).turned) == 1


def test_nothing_changed():
    assert difference(OLD, OLD) == Difference()
    turned = replace(OLD, nodes=OLD.nodes[::-1], edges=OLD.edges[::-1])
    assert difference(OLD, turned) == Difference()


def test_the_command(tmp_path):
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, written in zip(paths, (OLD, NEW), strict=True):
        kept = replace(written, edges=written.edges[:2])
        path.write_text(kept.to_json(), encoding="utf-8")
    said = run("diff", *paths)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "+ new: a new model",
        "- lost: is gone",
        "~ new-name: was called old-name, the same bytes",
        "~ base: other weights under the same name",
        "+ new: likely: probably LoRA-tuned from base",
        "- lost: no longer probably LoRA-tuned from base",
        "~ kid: strong: fine-tuned from base; 97 % sure of the direction; found in all 100 "
        "resamplings; was open: probably fine-tuned from base; which came first is open",
    ]
    content = json.loads(run("diff", *paths, "--json").out)
    assert content["renamed"] == [["old-name", "new-name"]]
    assert run("diff", paths[0], paths[0]).out == "nothing changed\n"
    assert run("diff", paths[0], tmp_path / "none.json").code == 2
