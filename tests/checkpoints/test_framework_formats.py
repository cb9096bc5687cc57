"""Formats of other frameworks, against what their own libraries make of files that they wrote.

experiments/formats/frameworks.py wrote the files, with the versions in versions.json.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from kit import save_distributed
from safetensors.numpy import load_file

import mother
from mother.checkpoints import discover, open_checkpoint
from mother.checkpoints.counted import counts_among
from mother.checkpoints.tensor import constant
from mother.checkpoints.tensorflow_files import _COUNTS as COUNTS
from mother.checkpoints.tensorflow_files import _TRAINING as TRAINING
from mother.errors import InputError

DATA = Path(__file__).parent.parent / "data" / "formats" / "frameworks"
EXPECTED = {
    tuple(key.split("|", 1)): value for key, value in np.load(DATA / "expected.npz").items()
}
FILES = sorted({file for file, _ in EXPECTED})
SCHEMES = {
    "qdq.onnx": "ONNX int8",
    "nbits.onnx": "ONNX int4 g16",
    "int8.tflite": "TFLite int8",
    "int8.xml": "OpenVINO int8",
    "int4.xml": "OpenVINO int4 g16",
    "ct2-int8": "CTranslate2 int8",
    "palette.mlpackage": "Core ML palette of 4 bits",
    "table.mlpackage": "Core ML palette of 4 bits",
    "int8.mlpackage": "Core ML int8",
    "blocks.mlpackage": "Core ML int4",
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_holds_what_its_own_library_reads(file):
    checkpoint = open_checkpoint(DATA / file)
    assert checkpoint.scheme == SCHEMES.get(file, "")
    for (other, name), values in EXPECTED.items():
        if other != file:
            continue
        tensor = checkpoint.tensors[name]
        assert tensor.shape == values.shape
        got = tensor.read()
        np.testing.assert_array_equal(got.astype(values.dtype), values.reshape(-1), name)
        for start, stop in ((0, 1), (5, 29), (values.size - 3, values.size), (7, 7)):
            np.testing.assert_array_equal(tensor.read(start, stop), got[start:stop])


def test_a_search_finds_each_of_them_once():
    found, problems = discover([DATA])
    names = {str(c.path.relative_to(DATA)) for c in found}
    assert not [p for p in problems if not str(p.path).endswith("versions.json")]
    assert {file for file in FILES if not file.startswith("orbax")} <= names
    assert names - set(FILES) <= {"expected.npz"}


def test_an_orbax_folder_says_what_it_needs(tmp_path):
    (tmp_path / "tensorstore.py").write_text("raise ImportError")
    code = (
        f"from mother.checkpoints import open_checkpoint; open_checkpoint({str(DATA / 'orbax')!r})"
    )
    env = {"PYTHONPATH": f"{tmp_path}:{Path(sys.modules['mother'].__file__).parent.parent}"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "pip install tensorstore" in run.stderr.splitlines()[-1]


def test_values_beside_an_onnx_file_must_lie_in_its_folder(tmp_path):
    content = (DATA / "beside.onnx").read_bytes()
    (tmp_path / "a.onnx").write_bytes(content.replace(b"beside.onnx_data", b"../side.onnx_dat"))
    with pytest.raises(InputError, match="outside its folder"):
        open_checkpoint(tmp_path / "a.onnx")


def state():
    torch.manual_seed(0)
    return {"l.weight": torch.randn(6, 8), "l.bias": torch.randn(6).bfloat16(), "n": torch.ones(8)}


def same(checkpoint, tensors, before=""):
    assert set(checkpoint.tensors) == {before + name for name in tensors}
    for name, value in tensors.items():
        tensor = checkpoint.tensors[before + name]
        assert tensor.shape == tuple(value.shape)
        assert torch.equal(torch.tensor(tensor.read().astype("f4")), value.float().flatten())


def test_a_distributed_checkpoint(tmp_path):
    tree = {"model": state(), "optim": {"step": torch.ones(3)}, "epoch": 4}
    save_distributed(tree, tmp_path / "run")
    checkpoint = open_checkpoint(tmp_path / "run")
    same(checkpoint, state(), "model.")
    assert (checkpoint.id, checkpoint.notes) == ("run", ("left out 'optim'",))


def test_the_state_of_a_training_deep_in_a_distributed_checkpoint(tmp_path):
    weights = {"optim.weight": torch.ones(2, 3)}
    training = {"optim": {"state": {"w": {"exp_avg": torch.zeros(2, 3)}}}}
    save_distributed({"app": {"model": weights, **training}}, tmp_path / "run")
    found = open_checkpoint(tmp_path / "run")
    assert list(found.tensors) == ["app.model.optim.weight"]
    assert found.notes == ("left out 'app.optim'",)


def test_nothing_in_distributed_metadata_is_run(tmp_path):
    (tmp_path / "__0_0.distcp").write_bytes(b"")
    (tmp_path / ".metadata").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(InputError, match="does not tell where"):
        open_checkpoint(tmp_path)
    assert not Path("ran").exists()


def test_an_archive_of_nemo(tmp_path):
    content = io.BytesIO()
    torch.save(state(), content)
    with tarfile.open(tmp_path / "a.nemo", "w") as archive:
        for name, data in (("./model_config.yaml", b"x"), ("./weights.ckpt", content.getvalue())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    same(open_checkpoint(tmp_path / "a.nemo"), state())


ADAM = {"state": {0: {"step": torch.tensor(12.0)}}, "param_groups": [{"lr": 0.1}]}


def counts(checkpoint):
    return {name: int(tensor.read()[0]) for name, tensor in checkpoint.steps.items()}


def save_agent(path, how=zipfile.ZIP_STORED, **options):
    """As Stable-Baselines3 does."""
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("data", "{}")
        for name, saved in (("policy", state()), ("policy.optimizer", ADAM)):
            content = io.BytesIO()
            torch.save(saved, content, **options)
            archive.writestr(f"{name}.pth", content.getvalue())


@pytest.mark.parametrize("new", [True, False])  # files of torch before 1.6 begin anywhere
def test_an_agent_is_found_among_other_archives(tmp_path, new):
    save_agent(tmp_path / "agent.zip", _use_new_zipfile_serialization=new)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as other:
        other.writestr("a.png", b"x" * 300)
    found, problems = discover([tmp_path])
    assert ([c.id for c in found], problems) == (["agent"], [])
    same(found[0], state())
    assert counts(found[0]) == {"policy.optimizer.pth ": 12}


def test_an_agent_is_read_without_the_state_of_its_optimizer(tmp_path):
    save_agent(tmp_path / "a.zip")
    with (
        zipfile.ZipFile(tmp_path / "a.zip") as whole,
        zipfile.ZipFile(tmp_path / "b.zip", "w") as damaged,
    ):
        for name in whole.namelist():
            damaged.writestr(name, b"x" * 99 if "optimizer" in name else whole.read(name))
    agent = open_checkpoint(tmp_path / "b.zip")
    same(agent, state())
    assert not agent.steps


def test_steps_that_frameworks_count():
    assert counts(open_checkpoint(DATA / "flax_model.msgpack")) == {"step": 3}
    of_keras = {"optimizer/iter": np.array([9]), "optimizer/rate": np.array([0.1])}
    found = counts_among({name: constant(name, x) for name, x in of_keras.items()})
    assert list(found) == ["optimizer/iter"]
    for name in ("optimizer/iter", "model/optimizer/_iterations", "global_step"):
        assert TRAINING.fullmatch(name)
        assert COUNTS.fullmatch(name)
    assert not COUNTS.fullmatch("save_counter")


def test_an_agent_that_was_compressed_is_refused(tmp_path):
    save_agent(tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="unzip it"):
        open_checkpoint(tmp_path / "a.zip")


def test_parts_of_meta_are_joined(tmp_path):
    whole = {
        "tok_embeddings.weight": torch.arange(40.0).reshape(5, 8),
        "layers.0.w1.weight": torch.randn(12, 8),
        "layers.0.w2.weight": torch.randn(8, 12),
        "norm.weight": torch.ones(8),
    }
    axis = {"tok_embeddings.weight": 1, "layers.0.w1.weight": 0, "layers.0.w2.weight": 1}
    for k in range(2):
        part = {n: v.chunk(2, axis[n])[k].clone() if n in axis else v for n, v in whole.items()}
        torch.save(part, tmp_path / f"consolidated.{k:02}.pth")
    same(open_checkpoint(tmp_path), whole)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_states_are_joined(tmp_path, stage, padded):
    """As deepspeed/utils/zero_to_fp32.py joins them."""
    whole = {"a": torch.randn(5, 3), "b": torch.randn(7)}
    kept = torch.randn(3, 3)  # not trained
    shapes = [{name: value.shape for name, value in whole.items()}]
    model = {"module": {"running": torch.ones(3)}, "param_shapes": shapes}
    told: dict = {"zero_stage": stage}
    if stage == 2:
        after = [3, 1] if padded else [0, 2]
        told |= {"param_alignment_paddings": [after]} if padded else {}
        pairs = zip(whole.values(), after, strict=True)
        flat = torch.cat([x for v, n in pairs for x in (v.flatten(), torch.full((n,), 9.0))])
        ranks = [{"single_partition_of_fp32_groups": [part.clone()]} for part in flat.chunk(2)]
        model["module"]["kept"] = kept
    else:
        padded_ones = [torch.cat([v.flatten(), torch.zeros(v.numel() % 2)]) for v in whole.values()]
        ranks = [
            {"fp32_flat_groups": [torch.cat([each.chunk(2)[k] for each in padded_ones])]}
            for k in range(2)
        ]
        model["module"]["kept"] = torch.empty(0)
        halves = torch.cat([kept.flatten(), torch.zeros(1)]).chunk(2)
    for k, rank in enumerate(ranks):
        content = {"optimizer_state_dict": told | rank}
        torch.save(content, tmp_path / f"zero_pp_rank_{k}_mp_rank_00_optim_states.pt")
        if stage == 3:
            own = {"frozen_param_shapes": {"kept": kept.shape}}
            own |= {"frozen_param_fragments": {"kept": halves[k].clone()}}
            torch.save(model | own, tmp_path / f"zero_pp_rank_{k}_mp_rank_00_model_states.pt")
    if stage == 2:
        torch.save(model, tmp_path / "mp_rank_00_model_states.pt")
    same(open_checkpoint(tmp_path), whole | {"running": torch.ones(3), "kept": kept})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("end", ["jit", "ptl", "bin"])
def test_torchscript_under_any_ending(tmp_path, end):
    net = torch.nn.Linear(3, 2)
    script = torch.jit.script(net)
    if end == "ptl":
        script._save_for_lite_interpreter(str(tmp_path / "a.ptl"))
    else:
        torch.jit.save(script, tmp_path / f"a.{end}")
    (found,), _ = discover([tmp_path])
    same(found, {n: v.detach() for n, v in net.state_dict().items()})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "changed",
    [
        "beside.onnx",
        "qdq.onnx",
        "nbits.onnx",
        "model.h5",
        "model.keras",
        "tf2.index",
        "flax_model.msgpack",
        "int8.tflite",
        "int4.xml",
        "ct2-int8/model.bin",
        "net.param",
        "net.bin",
        "net.caffemodel",
        "half.caffemodel",
        "net.params",
        "net.pdparams",
        "net.ckpt",
        "net.weights",
        "net.cfg",
    ],
)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, changed):
    """experiments/fuzz/checkpoints.py does more, for longer."""
    rng = random.Random(changed)
    stem = Path(changed).name.split(".")[0]
    for each in (DATA / changed).parent.glob(f"{stem}.*"):
        if each.is_file():
            shutil.copy(each, tmp_path)
    path = tmp_path / Path(changed).name
    content = path.read_bytes()
    told_by = {".bin": ".param", ".cfg": ".weights"} if stem == "net" else {}
    opened = path.with_suffix(told_by.get(path.suffix, path.suffix))
    for _ in range(25):
        data = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(min(len(data), rng.choice((64, 1024, len(data)))))
            data[at] = rng.choice((0, 127, 255, rng.randrange(256)))
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            for tensor in open_checkpoint(opened).tensors.values():
                assert tensor.read(1, 3).size == max(0, min(tensor.size, 3) - 1)
            fault = ""
        except InputError as error:
            fault = str(error)
        assert "\n" not in fault


def openvino(folder: Path, kind: str, shape: str, data: bytes, scale: tuple[str, bytes]) -> Path:
    """A matrix of codes, converted and multiplied by scales, as nncf compresses weights."""
    consts = [("w", kind, shape, 0, len(data)), ("s", scale[0], "3,1", len(data), len(scale[1]))]
    layers = "".join(
        f'<layer id="{n}" name="{n}" type="Const"><data element_type="{k}" shape="{s}"'
        f' offset="{at}" size="{many}"/></layer>'
        for n, k, s, at, many in consts
    )
    layers += '<layer id="c" type="Convert"/><layer id="d" type="Convert"/>'
    layers += '<layer id="m" type="Multiply"/>'
    ends = [("w", "c", 0), ("s", "d", 0), ("c", "m", 0), ("d", "m", 1)]
    edges = "".join(f'<edge from-layer="{a}" to-layer="{b}" to-port="{p}"/>' for a, b, p in ends)
    text = (
        f'<?xml version="1.0"?><net name="n"><layers>{layers}</layers><edges>{edges}</edges></net>'
    )
    (folder / "m.xml").write_text(text)
    (folder / "m.bin").write_bytes(data + scale[1])
    return folder / "m.xml"


CODES = np.random.default_rng(0).integers(0, 16, (3, 8), np.uint8)
PACKED = (CODES[:, ::2] | CODES[:, 1::2] << 4).tobytes()
EXPONENTS = np.array([126, 127, 130], np.uint8)  # of two, less 127
SCALES = np.array([[0.5], [1], [8]], np.float32)


@pytest.mark.parametrize("scale", ["f8e8m0", "f16"])
@pytest.mark.parametrize("kind", ["f4e2m1", "nf4", "f8e4m3"])
def test_coarse_floats_of_openvino(tmp_path, kind, scale):
    held = EXPONENTS.tobytes() if scale == "f8e8m0" else SCALES.astype("f2").tobytes()
    data, told = PACKED, "FP4"
    if kind == "f4e2m1":
        values = CODES.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    elif kind == "nf4":  # the quantiles that bitsandbytes writes beside its codes
        table = load_file(DATA.parent / "bnb-nf4" / "model.safetensors")
        (table,) = (w for n, w in table.items() if n.endswith("quant_map"))
        values, told = table[CODES], "NF4"
    else:
        values, told = CODES.view(ml_dtypes.float8_e4m3fn).astype(np.float32), "FP8 e4m3"
        data = CODES.tobytes()
    found = open_checkpoint(openvino(tmp_path, kind, "3,8", data, (scale, held)))
    assert found.scheme == f"OpenVINO {'MX' if scale == 'f8e8m0' else ''}{told}"
    (weight,) = found.tensors.values()
    assert np.array_equal(weight.read().reshape(3, 8), values * SCALES)
    assert np.array_equal(weight.read(5, 18), (values * SCALES).ravel()[5:18])


def test_what_is_of_no_type_that_is_read_counts_as_not_read(tmp_path):
    """No model passes for whole of which most was left out."""
    path = openvino(tmp_path, "u2", "3,400", bytes(300), ("f32", SCALES.tobytes()))
    found = open_checkpoint(path)
    assert found.unread == {"w": 1200}
    assert [problem.fault for problem in mother.recover([path]).refused] == [
        "not enough of it can be read: 0.0025 of its weights, the rest are packed or integers"
    ]


def test_an_orbax_folder_of_zarrs_third_format(tmp_path):
    """As orbax writes it with use_zarr3, each of several processes into a database of its own."""
    import tensorstore

    base = {"driver": "file", "path": f"{tmp_path}/"}
    store = {"driver": "ocdbt", "base": base, "path": "params.w/"}
    metadata = {"shape": [4, 6], "data_type": "float32"}
    spec = {"driver": "zarr3", "kvstore": store, "metadata": metadata}
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensorstore.open(spec, create=True).result().write(values).result()
    keys = [{"key": "params", "key_type": 2}, {"key": "w", "key_type": 2}]
    told = {"tree_metadata": {"w": {"key_metadata": keys}}, "use_zarr3": True}
    (tmp_path / "_METADATA").write_text(json.dumps(told))
    for process in range(2):
        (tmp_path / f"ocdbt.process_{process}").mkdir()
        (tmp_path / f"ocdbt.process_{process}" / "manifest.ocdbt").write_bytes(b"x")
    found, problems = discover([tmp_path])
    assert not problems
    assert np.array_equal(found[0].tensors["params.w"].read(), values.ravel())


def test_variables_that_tensorflow_found_by_their_optimizer_are_the_model_s():
    """As Keras 3 stores them in tf.train.Checkpoint(model=..., optimizer=...)."""
    held = "optimizer/_trainable_variables/0", "model/optimizer/_trainable_variables/1"
    assert not any(map(TRAINING.fullmatch, held))
    left = "optimizer/_variables/2", "model/optimizer/iter", "_optimizer", "optimizer"
    assert all(map(TRAINING.fullmatch, left))
