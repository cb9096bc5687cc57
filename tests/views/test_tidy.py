"""Tidy trees keep their promises; that they are d3's is tested in a browser."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mother.views.tidy import COUSINS, SIBLINGS, tidy


def children_of(parents):
    below = defaultdict(list)
    for k, parent in enumerate(parents, 1):
        below[parent % k].append(k)
    return below


TREES = st.lists(st.integers(0, 60), max_size=60)


@given(TREES)
def test_rows(parents):
    below = children_of(parents)
    rows = tidy(0, lambda k: below[k])
    assert set(rows) == set(range(len(parents) + 1))
    assert rows[0] == 0
    up = {child: parent for parent, inner in below.items() for child in inner}
    level = [0]
    while level:
        for a, b in pairwise(level):  # in the order of their parents, and never on each other
            apart = SIBLINGS if up.get(a) == up.get(b) else COUSINS
            assert rows[b] - rows[a] >= apart - 1e-9
        level = [child for k in level for child in below[k]]
    for parent, inner in below.items():
        if inner:
            assert rows[parent] == pytest.approx((rows[inner[0]] + rows[inner[-1]]) / 2)


@given(TREES)
def test_mirrored(parents):
    """A tree and its mirror image are drawn alike (Reingold and Tilford's last rule)."""
    below = children_of(parents)
    rows = tidy(0, lambda k: below[k])
    mirrored = tidy(0, lambda k: below[k][::-1])
    assert mirrored == pytest.approx({k: -row for k, row in rows.items()}, abs=1e-9)


def test_known():
    below = {0: [1, 2, 3], 1: [4, 5, 6], 3: [7]}
    rows = tidy(0, lambda k: below.get(k, []))
    assert rows == {0: 0, 1: -1.125, 2: 0, 3: 1.125, 4: -2.125, 5: -1.125, 6: -0.125, 7: 1.125}


def test_a_deep_chain_and_a_wide_fan():
    assert set(tidy(0, lambda k: [k + 1] if k < 20_000 else []).values()) == {0.0}
    fan = tidy(0, lambda k: range(1, 20_001) if k == 0 else [])
    assert fan[1] == -9999.5
    assert fan[20_000] == 9999.5
