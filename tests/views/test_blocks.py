"""Layers as a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mother.views.blocks import grid
from mother.views.heat import heat

VIT = [
    "vit.embeddings.cls_token",
    *(f"vit.encoder.layer.{k}.{kind}" for k in range(12) for kind in ("attn.weight", "mlp.weight")),
    "vit.layernorm.weight",
]


def test_a_transformer():
    table = grid(VIT)
    assert table.blocks == ("", *map(str, range(12)))
    assert table.kinds == (
        "vit.embeddings.cls_token",
        "attn.weight",
        "mlp.weight",
        "vit.layernorm.weight",
    )
    at = dict(zip(VIT, table.cells, strict=True))
    assert at["vit.encoder.layer.7.mlp.weight"] == (2, 8)
    assert at["vit.layernorm.weight"] == (3, 0)


def test_blocks_are_what_counts_furthest():
    names = [f"layers.{k}.experts.{e}.w" for k in range(6) for e in range(2)]
    table = grid(names)
    assert table.kinds == ("experts.0.w", "experts.1.w")
    assert table.blocks == tuple("012345")


def test_two_stacks_keep_their_names():
    table = grid(["encoder.0.w", "encoder.1.w", "decoder.0.w"])
    assert table.kinds == ("encoder.*.w", "decoder.*.w")
    assert table.cells == ((0, 0), (0, 1), (1, 0))


def test_nothing():
    assert grid([]).cells == ()
    assert [line.plain.split() for line in heat([], [])][1:] == [[]]


PART = st.sampled_from(["a", "b", "0", "1", "10", "w"])
NAMES = st.lists(st.lists(PART, min_size=1, max_size=5).map(".".join), unique=True, max_size=12)


@given(NAMES)
def test_every_layer_has_a_cell_of_its_own(names):
    table = grid(names)
    assert len(set(table.cells)) == len(names)
    for row, column in table.cells:
        assert 0 <= row < len(table.kinds)
        assert 0 <= column < len(table.blocks)
    numbers = [int(b) for b in table.blocks if b]
    assert numbers == sorted(set(numbers))


@given(st.lists(st.text(max_size=9), unique=True, max_size=6))
def test_any_name_at_all(names):
    assert len(grid(names).cells) == len(names)
    lines = list(heat(names, [0.5] * len(names)))
    assert all(len(line.plain.splitlines()) <= 1 for line in lines)


def test_cells_in_a_terminal():
    lines = [line.plain.rstrip() for line in heat(VIT[:3], [0.0, 4.0, 1.0])]
    assert lines[0].startswith("change by block, 9: 4, 5: a quarter")
    assert lines[2].split() == ["vit.embeddings.cls_token", "·"]
    assert lines[3].split() == ["attn.weight", "9"]
    assert lines[4].split() == ["mlp.weight", "5"]
