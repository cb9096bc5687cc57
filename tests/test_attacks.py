"""Files of a few kilobytes that ask for far more work than they are worth: refused in one line, or
read in no more than their size justifies, whatever lies beside them."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit import model, run, save, tuned

from mother.checkpoints import discover, open_checkpoint, work
from mother.checkpoints.work import BASE
from mother.checkpoints.zip_archive import Deflated

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.fuzz.attacks import ATTACKS, integer, numbers, start, torch_file, view

#: linear, and large enough to take a second
LARGE = {
    "keys_spelled",
    "lists_in_lists",
    "operations",
    "persistent_sliced",
    "rebuilt_within",
    "tuples_sliced",
    "views_descending",
}
#: linear, and made smaller by SCALE, by which what any file may ask for is smaller, too
SCALED = {
    "arrays_aliased",
    "distributed_parts",
    "flax_chunks",
    "hdf5_nodes",
    "keys_shared",
    "members",
    "safetensors_names",
    "tensors_of_nothing",
}
SCALE = 1 / 16
WORK = "asks for more work than its"
#: what those are told that are refused; others are read, without what they hide
FAULTS = {
    "caffe_names": "has a field of 60000 bytes",
    "caffe_shapes": "bytes of integers; 320 are the most",
    "darknet_sides": "of more than 16777216 a side",
    "lists_named": WORK,
    "arguments_kept": WORK,
    "arrays_aliased": WORK,
    "blocks_again": WORK,
    "dicts_updated": WORK,
    "distributed_parts": WORK,
    "graphs_again": WORK,
    "hdf5_nodes": WORK,
    "hdf5_one_chunk": WORK,
    "json_in_json": "not valid JSON",
    "keys_shared": WORK,
    "keys_spelled": "has a tensor name of more than",
    "legacy_again": WORK,
    "lists_in_lists": WORK,
    "names_again": WORK,
    "names_joined": "imports a name of more than",
    "names_prefixed": WORK,
    "names_split": "imports a name of more than",
    "openvino_chains": "holds no constants of numbers",
    "openvino_entities": "declares a document type",
    "openvino_names": WORK,
    "operations": WORK,
    "scales_again": "30000 scales",
    "shapes_recalled": "malformed tensor",
    "sizes_copied": WORK,
    "states_unpacked": "malformed array",
    "strides_of_none": WORK,
    "tensors_of_nothing": WORK,
    "transposed_inflated": WORK,
    "views_overlapping": WORK,
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in ATTACKS]
)
def test_an_attack(tmp_path, name, monkeypatch):
    if name in SCALED:
        monkeypatch.setattr(work, "BASE", round(BASE * SCALE))
        ATTACKS[name](tmp_path, SCALE)
    else:
        ATTACKS[name](tmp_path)
    found, problems = discover([tmp_path])
    assert [
        problem.fault for problem in problems if FAULTS.get(name, "") not in problem.fault
    ] == []
    assert len(problems) == (name in FAULTS)
    assert len(found) == (name not in FAULTS)
    assert all(len(str(problem).splitlines()) == 1 < 1000 for problem in problems)


def test_attacks_beside_a_family(tmp_path):
    root = model(layers=2)
    save(tmp_path / "models/root.safetensors", root)
    for k in range(1, 3):
        save(tmp_path / f"models/child{k}.safetensors", tuned(root, k))
    for name in ("names_joined", "integers_shown", "strides_of_none", "views_overlapping"):
        (tmp_path / "models" / name).mkdir()
        ATTACKS[name](tmp_path / "models" / name)
    result = run("recover", tmp_path / "models")
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("mother: ") and "digits" not in line for line in lines)
    assert "root   3 models" in result.out


def test_elements_count_for_what_the_file_holds(tmp_path):
    """Tensors of a million elements over one float: as many as may be, and one more."""
    for many in (BASE >> 20) - 1, (BASE >> 20) + 1:
        views = b"".join(
            integer(k) + view(0, 0, numbers([1024, 1024]), numbers([0, 0])) for k in range(many)
        )
        torch_file(tmp_path / f"{many}.pt", start(1) + b"}(" + views + b"u", bytes(4))
    found, problems = discover([tmp_path])
    assert [len(each.tensors) for each in found] == [(BASE >> 20) - 1]
    assert [problem.path.stem for problem in problems] == [str((BASE >> 20) + 1)]


@pytest.fixture
def deflated(tmp_path):
    data = np.random.default_rng(0).integers(0, 3, 3 << 20).astype(np.uint8)
    out = io.BytesIO()
    np.save(out, data)
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", out.getvalue())
    return open_checkpoint(tmp_path / "m.npz").tensors["w"], data


def test_a_deflated_member_read_backwards(deflated, monkeypatch):
    """Slices in any order are what they are, and inflate a part of the member each."""
    tensor, data = deflated
    inflated = []
    take = Deflated._take

    def counted(self, inflation, stop):
        inflated.append(out := take(self, inflation, stop))
        return out

    monkeypatch.setattr(Deflated, "_take", counted)
    starts = range(len(data) - 100, 0, -10_000)
    for at in starts:
        np.testing.assert_array_equal(tensor.read(at, at + 50), data[at : at + 50])
    total = sum(map(len, inflated))
    assert total < len(starts) * (1 << 18) + 3 * len(data)
    assert total < len(starts) * len(data) / 4
