"""Pointers in the place of weights, by their published descriptions."""

import pytest
from kit import check_one_line, model, run, save

from mother.checkpoints import discover
from mother.checkpoints.passed_over import passed_over


def test_pointers_of_dvc_are_named_with_what_fetches_them(tmp_path):
    out = "outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 5\n  hash: md5\n  path: {}\n"
    save(tmp_path / "here.safetensors", model(layers=2))
    (tmp_path / "here.safetensors.dvc").write_text(out.format("here.safetensors"))
    (tmp_path / "gone.bin.dvc").write_text(out.format("gone.bin"))
    (tmp_path / "table.csv.dvc").write_text(out.format("table.csv"))
    (tmp_path / "runs.dvc").write_text(out.format("runs") + "  nfiles: 3\n")
    lock = "schema: '2.0'\nstages:\n  train:\n    cmd: x\n    outs:\n"
    lock += "".join(f"    - path: out/{k}.pt\n      md5: a\n      size: 1\n" for k in range(3))
    (tmp_path / "dvc.lock").write_text(lock)
    found, problems = discover([tmp_path])
    assert {p.path.name: p.fault for p in passed_over([tmp_path], found, problems)} == {
        "dvc.lock": "a DVC pointer: out/0.pt and 2 more are not here; `dvc pull` fetches it",
        "gone.bin.dvc": "a DVC pointer: gone.bin is not here; `dvc pull` fetches it",
        "runs.dvc": "a DVC pointer: the folder runs is not here; `dvc pull` fetches it",
    }
    result = run("recover", tmp_path)
    assert result.code == 0
    assert "`dvc pull`" in result.err
    (tmp_path / "here.safetensors").unlink()
    (tmp_path / "only").mkdir()
    (tmp_path / "gone.bin.dvc").rename(tmp_path / "only/gone.bin.dvc")
    check_one_line(run("recover", tmp_path / "only"), "gone.bin.dvc", "`dvc pull`")


@pytest.mark.parametrize(
    "text",
    [
        "outs: [{path: ../../x.pt}, {path: /etc/x.pt}, {path: 'a\\0.pt'}]",
        "outs: " + "[" * 5000,
        "a: &a [*a, *a]\nouts: [*a]",
        "outs:\n- path: [x.pt]\n- {? [x] : y}\n- *none",
        "\x00",
    ],
)
def test_hostile_pointers(tmp_path, text):
    (tmp_path / "x.pt.dvc").write_text(text)
    assert passed_over([tmp_path], []) == []


def test_pointers_of_git_lfs(tmp_path):
    (tmp_path / "kid").mkdir()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"
    (tmp_path / "kid/model.safetensors").write_text(pointer)
    save(tmp_path / "base.safetensors", model(layers=2))
    result = run("recover", tmp_path)
    check_one_line(result, "kid", "`git lfs pull`")
    assert "base" in result.out
