"""Ranges of bytes against sets of bytes, and addresses against their own text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mother.errors import InputError
from mother.hub import is_address, parse
from mother.hub.ranges import merged, missing, pieces
from mother.names import printable

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)))


def bytes_of(parts: list[tuple[int, int]]) -> set[int]:
    return {at for start, stop in parts for at in range(start, stop)}


@given(ranges, st.integers(0, 5))
def test_merged(parts: list[tuple[int, int]], gap: int) -> None:
    found = merged(parts, gap)
    assert bytes_of(found) >= bytes_of(parts)
    assert all(a[1] + gap < b[0] for a, b in itertools.pairwise(found))
    between = bytes_of(found) - bytes_of(parts)
    if gap == 0:
        assert not between
    for start, stop in found:
        assert {start, stop - 1} <= bytes_of(parts)


@given(ranges, st.integers(0, 60), st.integers(0, 60))
def test_missing(parts: list[tuple[int, int]], start: int, stop: int) -> None:
    found = list(missing(merged(parts), start, stop))
    assert bytes_of(found) == set(range(start, stop)) - bytes_of(parts)
    assert found == merged(found)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 9))
def test_pieces(start: int, stop: int, most: int) -> None:
    found = list(pieces(start, stop, most))
    assert [at for part in found for at in range(*part)] == list(range(start, stop))
    assert all(0 < b - a <= most for a, b in found)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://org", ("org", "", "", "")),
        ("hf://org/", ("org", "", "", "")),
        ("hf:/org/name", ("org", "name", "", "")),
        ("hf://org/name@main", ("org", "name", "main", "")),
        ("hf://org/name@refs%2Fpr%2F1/a/b.bin", ("org", "name", "refs/pr/1", "a/b.bin")),
        ("hf://org/name@refs/convert/onnx", ("org", "name", "refs/convert/onnx", "")),
        ("hf://org/name/a@b.bin", ("org", "name", "", "a@b.bin")),
    ],
)
def test_parse(text: str, parts: tuple[str, str, str, str]) -> None:
    address = parse(text)
    assert (address.owner, address.name, address.revision, address.path) == parts
    assert parse(str(address)) == address


@given(st.text())
def test_whatever_is_given_is_an_address_or_refused(text: str) -> None:
    assert is_address(f"hf://{text}")
    try:
        address = parse(f"hf://{text}")
    except InputError as error:
        said = str(error)
    else:
        said = ""
        assert parse(str(address)) == address
        assert ".." not in (*address.path.split("/"), address.owner, address.name)
    assert printable(said) == said
