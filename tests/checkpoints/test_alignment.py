from pathlib import Path

import numpy as np
import pytest

from mother.checkpoints import Checkpoint, Tensor
from mother.layouts import align


class Nothing:
    def read(self, start, stop):
        raise AssertionError("alignment reads no data")


def model(id, shapes, dtype="float32"):
    tensors = {n: Tensor(n, np.dtype(dtype), tuple(s), Nothing()) for n, s in shapes.items()}
    return Checkpoint(id, Path(id), "npz", tensors)


def vit(prefix="", layers=3, width=8, head=None, pooler=False, head_prefix=""):
    shapes = {f"{prefix}embeddings.patch.weight": (width, 3, 4, 4)}
    shapes[f"{prefix}embeddings.cls_token"] = (1, 1, width)
    for i in range(layers):
        for part in ("query", "key", "value", "output.dense"):
            shapes[f"{prefix}encoder.layer.{i}.attention.{part}.weight"] = (width, width)
            shapes[f"{prefix}encoder.layer.{i}.attention.{part}.bias"] = (width,)
    if pooler:
        shapes[f"{prefix}pooler.dense.weight"] = (width, width)
    if head:
        shapes[f"{head_prefix}classifier.weight"] = (head, width)
    return shapes


def paired(group, a, b):
    return [layer.name for layer in group.layers if {a, b} <= set(layer.members)]


def test_same_names_are_one_group():
    (group,) = align([model(str(i), vit(head=10)) for i in range(4)])
    assert len(group.layers) == len(vit(head=10))
    assert all(layer.members == (0, 1, 2, 3) for layer in group.layers)
    assert group.unaligned == ((),) * 4
    assert len(set(group.architecture)) == 1
    assert len(group.architecture[0]) == 12
    names = [(layer.name, layer.shape) for layer in group.layers]
    assert names == sorted(names)


def test_a_classifier_and_its_backbone():
    classifier, backbone = model("c", vit("vit.", head=10)), model("b", vit(pooler=True))
    for pair in ([classifier, backbone], [backbone, classifier]):
        (group,) = align(pair)
        assert sorted(paired(group, 0, 1)) == sorted(vit())
        lines = {c.id: lines for c, lines in zip(group.checkpoints, group.unaligned, strict=True)}
        assert lines == {
            "c": ("classifier.weight: in no other checkpoint",),
            "b": ("pooler.dense.weight: in no other checkpoint",),
        }


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "a.b.c.d.", "x/"])
def test_any_prefix(prefix):
    wrapped = {prefix + name: shape for name, shape in vit(head=5).items()}
    (group,) = align([model("w", wrapped), model("p", vit(head=5))])
    assert [layer.name for layer in group.layers] == sorted(vit(head=5))
    assert group.unaligned == ((), ())
    assert group.architecture[0] == group.architecture[1]


def test_a_chain_of_prefixes_meets_in_one_name():
    wrapped = {f"module.{n}": s for n, s in vit("vit.", head=7, head_prefix="").items()}
    trio = [model("w", wrapped), model("c", vit("vit.", head=7)), model("b", vit())]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1], [1, 2, 0]):
        (group,) = align([trio[i] for i in order])
        assert sorted(paired(group, 0, 2)) == sorted(vit()) or len(paired(group, 0, 2)) > len(vit())
        assert {layer.name for layer in group.layers} == {*vit(), "classifier.weight"}
        assert group.unaligned == ((),) * 3


def test_two_different_prefixes():
    (group,) = align([model("a", vit("deit.", head=3)), model("b", vit("vit.", head=4))])
    assert {layer.name for layer in group.layers} == set(vit())
    assert group.unaligned[0] == ("classifier.weight: of shape (3, 8) here, (4, 8) elsewhere",)


def test_other_widths_and_depths():
    models = [model("a", vit()), model("b", vit(width=16)), model("c", vit(layers=4))]
    groups = align(models)
    assert [[c.id for c in group.checkpoints] for group in groups] == [["a", "c"], ["b"]]
    assert len(groups[1].layers) == len(vit())
    assert groups[1].layers[0].members == (0,)


def test_connected_by_a_third():
    a = {"x.weight": (10, 10), "y.weight": (20, 10)}
    b = {"y.weight": (20, 10), "z.weight": (25, 10)}
    c = {"z.weight": (25, 10), "u.weight": (30, 5)}
    (group,) = align([model(i, s) for i, s in zip("abc", (a, b, c), strict=True)])
    assert [(layer.name, layer.members) for layer in group.layers] == [
        ("y.weight", (0, 1)),
        ("z.weight", (1, 2)),
    ]


def test_only_weights_count():
    shapes = {"n": (5, 5), "empty": (0, 3)}
    groups = align([model("a", shapes, "int64"), model("b", shapes)])
    assert [len(group.layers) for group in groups] == [0, 1]
    (group,) = align([model("a", shapes), model("b", shapes)])
    assert [layer.name for layer in group.layers] == ["n"]
    assert align([]) == []


def test_stripping_never_makes_two_of_one_name():
    shapes = {"a.w": (4, 4), "w": (4, 4), "a.a.w": (4, 4), "a.v": (90, 9)}
    (group,) = align([model("x", shapes), model("y", {"w": (4, 4), "v": (90, 9)})])
    assert sum(len(layer.members) for layer in group.layers) + sum(map(len, group.unaligned)) == 6


def test_every_weight_is_in_a_layer_or_named():
    models = [
        model("a", vit("m.", head=9)),
        model("b", vit(pooler=True)),
        model("c", vit(layers=5)),
    ]
    for group in align(models):
        for index, checkpoint in enumerate(group.checkpoints):
            held = sum(index in layer.members for layer in group.layers)
            assert held + len(group.unaligned[index]) == len(checkpoint.tensors)


def test_a_thousand_of_one_kind():
    shapes = vit(layers=24)
    models = [model(str(i), shapes) for i in range(1000)]
    (group,) = align(models)
    assert group.layers[0].members == tuple(range(1000))


def test_many_kinds():
    related = [model(f"h{i}", vit(layers=12, head=i + 1)) for i in range(300)]
    others = [model(f"w{i}", vit(layers=6, width=9 + i)) for i in range(300)]
    wrapped = [model(f"p{i}", vit(f"p{i}.", layers=12)) for i in range(20)]
    groups = align([*related, *others, *wrapped])
    assert [len(group.checkpoints) for group in groups] == [320, *[1] * 300]
