"""The documents that are handed to a command: bounded, of any line ends, with a mark or without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import check_one_line, model, run, save, tuned

from mother.errors import InputError, MotherError, UsageError
from mother.gate.policy import Policy
from mother.graph import ModelGraph
from mother.graph.documents import read_json, read_text
from mother.graph.evaluation import read_truth

ENDLESS = Path("/dev/zero")
MARK = b"\xef\xbb\xbf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "models" / "a.safetensors", model(1))
    save(tmp_path / "models" / "b.safetensors", tuned(model(1), 2))
    (tmp_path / "graph.json").write_text(ModelGraph("gram").to_json())
    return tmp_path


def reading(folder: Path, document: Path) -> dict[str, tuple[object, ...]]:
    """A command for each kind of document."""
    return {
        "graph": ("show", document),
        "truth": ("evaluate", folder / "graph.json", document),
        "policy": ("check", folder / "models", "--policy", document),
        "stages": ("recover", folder / "models", "--method", "mother", "--stages", document),
    }


GOOD = {
    "graph": ModelGraph("gram").to_json(),
    "truth": json.dumps({"edges": [["a", "b"]], "more": "é"}, indent=1, ensure_ascii=False),
    "policy": 'certainty = 0.9\n[rules]\n# ü\nundeclared = "off"\n',
    "stages": '{\n"a": "generalization"\n}\n',
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("mark", [b"", MARK], ids=["plain", "marked"])
def test_read_as_any_editor_saves_it(folder: Path, kind: str, ends: str, mark: bytes) -> None:
    document = folder / "document"
    document.write_bytes(mark + GOOD[kind].replace("\n", ends).encode())
    result = run(*reading(folder, document)[kind])
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("kind", GOOD)
def test_what_does_not_end_is_refused(folder: Path, kind: str, monkeypatch) -> None:
    monkeypatch.setattr("mother.graph.model_graph.MAX_GRAPH", 1 << 20)
    check_one_line(run(*reading(folder, ENDLESS)[kind]), "/dev/zero: larger than", "iB")


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_no_text_is_refused(folder: Path, kind: str) -> None:
    document = folder / "document"
    document.write_text(GOOD[kind], encoding="utf-16")
    check_one_line(run(*reading(folder, document)[kind]), f"{document}: not UTF-8")
    check_one_line(run(*reading(folder, folder)[kind]), f"{folder}: is a directory")
    absent = folder / "absent"
    check_one_line(run(*reading(folder, absent)[kind]), f"{absent}: no such file")


def test_a_document_of_the_largest_size_is_read(tmp_path: Path) -> None:
    document = tmp_path / "document"
    document.write_bytes(b" " * (1 << 20))
    assert len(read_text(document, 1 << 20)) == 1 << 20
    document.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read_text(document, 1 << 20)


def test_no_path_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a valid path"):
        read_text("a\0b", 1)
    for text in ("", "[" * 100_000, "9" * 5000, '{"a": 1}}'):
        (tmp_path / "document").write_text(text)
        with pytest.raises(InputError, match=r"document: not JSON"):
            read_json(tmp_path / "document", 1 << 20)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_it_holds_is_read_or_refused_in_one_line(content: bytes) -> None:
    document = Path("document")
    document.write_bytes(content)
    for read in (read_truth, Policy.load, ModelGraph.load):
        said = []
        try:
            read(document)
        except MotherError as fault:
            said = str(fault).splitlines()
        assert len(said) < 2
        assert all(line.startswith("document: ") for line in said)


@pytest.mark.parametrize(
    "content", ['"a\\n\\u202e" = 1', "[rules]\n'\u202e' = 1", 'deny = ["sha256:\\n"]']
)
def test_a_policys_names_are_spelled_out(content: str) -> None:
    Path("document").write_text(content)
    with pytest.raises(UsageError) as fault:
        Policy.load("document")
    assert str(fault.value).isprintable()


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("documents"))
        yield
