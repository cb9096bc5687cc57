"""What is registered from outside takes part: a toy of each kind, in no file of the package."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import mother
from mother import exports
from mother.checkpoints import Checkpoint, File, formats
from mother.checkpoints.tensor import constant
from mother.cli.export import export
from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.evidence.registry import KINDS
from mother.methods.scores import SCORES


def files(folder: Path) -> list[Path]:
    """A model, and another that was trained from it; which, weights tell a little."""
    rng = np.random.default_rng(0)
    first = {f"layer.{k}.weight": rng.normal(size=(40, 40)) for k in range(6)}
    second = {n: w + 0.1 * rng.normal(size=w.shape) for n, w in first.items()}
    for name, weights in (("a", first), ("b", second)):
        np.savez(folder / f"{name}.npz", **{n: w.astype(np.float32) for n, w in weights.items()})
    return [folder / "a.npz", folder / "b.npz"]


class Alphabet(Evidence):
    """Says that what comes first was first."""

    def log_odds(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.where(i < j, 30.0, -30.0)

    def claims(self, p: np.ndarray, c: np.ndarray) -> list[tuple[float, str] | None]:
        return [(float(odds), "by their names") for odds in self.log_odds(p, c)]


def alphabet(family: Family) -> Evidence | None:
    return Alphabet() if len(family) == 2 else None


def test_a_kind_of_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = mother.recover(files(tmp_path), bootstrap=0).edges
    monkeypatch.setitem(KINDS, "alphabet", Kind("alphabet", "none", alphabet))
    (after,) = mother.recover(files(tmp_path), bootstrap=0).edges
    (said,) = (e for e in after.evidence if e.kind == "alphabet")
    assert (said.log_odds, said.says) == (30.0, "by their names")
    odds = [sum(e.log_odds for e in edge.evidence if e.kind != "tree") for edge in (before, after)]
    assert (before.parent, after.parent) == ("a", "a")
    assert odds[1] - odds[0] == pytest.approx(30.0, abs=1.0)


def test_a_score_of_the_papers_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for sign, root in ((1.0, "a"), (-1.0, "b")):
        score = sign * np.array([1.0, 0.0])
        monkeypatch.setitem(SCORES, "given", lambda m, score=score: score)
        graph = mother.recover(files(tmp_path), method="mother", score="given")
        assert [edge.parent for edge in graph.edges] == [root]


def test_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = exports.Format("counts", lambda graph: str(len(graph.nodes)), ("2",))
    monkeypatch.setitem(exports.FORMATS, "count", toy)
    (tmp_path / "graph.json").write_text(mother.recover(files(tmp_path), bootstrap=0).to_json())
    monkeypatch.setattr(export.params[1], "type", click.Choice(["count"]))  # read at the start
    run = CliRunner().invoke(export, [str(tmp_path / "graph.json"), "--to", "count"])
    assert (run.exit_code, run.output.strip()) == (0, "2")


def test_a_format_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: File) -> Checkpoint:
        numbers = np.frombuffer(file.path.read_bytes()[3:], np.float32)
        return Checkpoint(file.path.stem, file.path, "toy", {"w": constant("w", numbers)})

    toy = formats.Format((".toy",), lambda file, start: start.startswith(b"TOY"), read)
    monkeypatch.setattr(formats, "FORMATS", (toy, *formats.FORMATS))
    (tmp_path / "a.toy").write_bytes(b"TOY" + np.arange(100, dtype=np.float32).tobytes())
    (node,) = mother.recover(tmp_path / "a.toy").nodes
    assert (node.format, node.parameters) == ("toy", 100)
