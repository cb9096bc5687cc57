"""Whose kinship with a newcomer is looked at, against a plain sort of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import checkpoint

from mother.index import relatives
from mother.index.relatives import Pool, kinships, kinships_between
from mother.sketches.signature import SIGNATURE
from mother.sketches.sketch import sketch


def pool(rng, count, spread, apart=1):
    """Models of a few architectures, in families of numbers so far apart; some are copies."""
    kinds = rng.choice(["a", "b", "c"], count).tolist()
    families = apart * rng.integers(0, 1 + count // spread, count)
    marks = rng.normal(size=(count, SIGNATURE)).astype(np.float32)
    copies = rng.random(count) < 0.2
    marks[copies] = marks[rng.integers(0, count, copies.sum())]
    marks[rng.random(count) < 0.2] += np.float32(1e-7)
    made = Pool(lambda kind: frozenset("ab") if kind in "ab" else frozenset("c"), lambda _: ())
    made.extend(range(1, count + 1), families.tolist(), kinds, marks)
    return made, kinds, families, marks


def by_a_sort_of_all(kinds, families, marks, signature):
    wide = np.square(marks.astype(np.float64) - signature.astype(np.float64)).sum(axis=1)
    taken: dict[int, list[int]] = {}
    for k in np.lexsort((np.arange(len(marks)), wide)).tolist():
        if kinds[k] in "ab":
            taken.setdefault(int(families[k]), []).append(k)
    first = list(taken.values())[: relatives.FAMILIES]
    return {k for members in first for k in members[: relatives.MEMBERS]}


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 400),
    st.integers(1, 60),
    st.sampled_from([1, 1 << 40]),
)
def test_the_nearest_of_the_nearest_families(seed, count, spread, apart):
    rng = np.random.default_rng(seed)
    made, kinds, families, marks = pool(rng, count, spread, apart)
    signature = (
        marks[int(rng.integers(count))]
        if rng.random() < 0.5
        else rng.normal(size=SIGNATURE).astype(np.float32)
    )
    found = made.candidates("a", signature, ())
    assert len(set(found.tolist())) == len(found)
    assert set(found.tolist()) == by_a_sort_of_all(kinds, families, marks, signature)


@pytest.mark.parametrize("members", [1, 3])
def test_so_many_members_as_are_asked_for(members, monkeypatch):
    monkeypatch.setattr(relatives, "MEMBERS", members)
    monkeypatch.setattr(relatives, "FAMILIES", 5)
    rng = np.random.default_rng(0)
    made, kinds, families, marks = pool(rng, 300, 20)
    for signature in rng.normal(size=(20, SIGNATURE)).astype(np.float32):
        found = set(made.candidates("b", signature, ()).tolist())
        assert found == by_a_sort_of_all(kinds, families, marks, signature)


def test_kinships_between_are_those_of_each_to_the_bit():
    """Of other names and of another size, too, and of what can't be compared."""
    draw = np.random.default_rng(0)
    root = {f"h.{k}.w": draw.normal(size=(24, 17)) for k in range(5)} | {"b": draw.normal(size=9)}

    def made(k, **other):
        held = {n: w + 0.3 * draw.normal(size=w.shape) for n, w in root.items()}
        whole = {**{f"net.{n}" if k % 3 else n: w for n, w in held.items()}, **other}
        return sketch(checkpoint(f"m{k}", whole), 1500 if k % 4 else 900)

    some = [made(k) for k in range(5)]
    others = [made(k, head=draw.normal(size=(4, 4))) for k in range(5, 11)]
    others += [made(12, **{"h.3.w": np.zeros((24, 17))})]
    others += [sketch(checkpoint("x", {"q": draw.normal(size=(8, 8))}), 900)]
    wanted = np.array([kinships(one, others)[0] for one in some])
    assert (wanted[:, :6] > 0.9).all()
    assert kinships_between(some, others).tobytes() == wanted.tobytes()
    assert kinships_between(others, some).shape == wanted.T.shape
