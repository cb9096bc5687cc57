import collections
import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from mother.checkpoints import open_checkpoint
from mother.checkpoints.pickle_data import read_pickle
from mother.errors import InputError

FORMS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


def varied_tensors():
    torch.manual_seed(0)
    x = torch.randn(6, 7)
    return {
        "plain": x,
        "transposed": x.t(),
        "window": x[2:4, 1:5],
        "expanded": torch.randn(3, 1).expand(3, 50),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": x.half(),
        "bfloat16": x.bfloat16(),
        "double": x.double().t(),
        "float8": x.to(torch.float8_e4m3fn),
        "int64": torch.arange(5),
        "uint16": torch.arange(3).to(torch.uint16),
        "bool": x > 0,
        "parameter": torch.nn.Parameter(x),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }


def check(checkpoint, expected):
    assert list(checkpoint.tensors) == list(expected)
    for name, tensor in checkpoint.tensors.items():
        value = expected[name].detach()
        assert tensor.shape == tuple(value.shape), name
        assert tensor.is_weight == value.is_floating_point()
        flat = value.double().numpy().ravel()
        for start, stop in [(0, None), (1, 3), (5, 29), (20, 21), (7, 14)]:
            read = tensor.read(start, stop)
            np.testing.assert_array_equal(read.astype(np.float64), flat[start:stop], name)


@pytest.mark.parametrize("form", FORMS)
def test_every_dtype_and_layout_as_torch_wrote_it(tmp_path, form):
    expected = varied_tensors()
    torch.save(expected, tmp_path / "a.pt", **FORMS[form])
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.format == "pytorch"
    check(checkpoint, expected)


@pytest.mark.parametrize("form", FORMS)
def test_the_state_dict_is_found_among_a_training_script_s_things(tmp_path, form):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    saved = {
        "epoch": 3,
        "model": {"model_args": {"a": 1}, "state_dict": net.state_dict()},
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"x": torch.ones(2)},
        "rng_state": torch.get_rng_state(),
    }
    torch.save(saved, tmp_path / "best.pth.tar", **FORMS[form])
    checkpoint = open_checkpoint(tmp_path / "best.pth.tar")
    assert checkpoint.id == "best"
    check(checkpoint, net.state_dict())
    assert "read from 'model.state_dict'" in checkpoint.notes
    assert "left out 'optimizer'" in checkpoint.notes
    assert {name: t.read().tolist() for name, t in checkpoint.steps.items()} == {"optimizer": [1]}


@pytest.mark.parametrize("step", [1 << 60, -1, torch.ones(2), "7", None])
def test_what_is_no_count_of_steps_is_none(tmp_path, step):
    adam = {"state": {0: {"step": step}}, "param_groups": []}
    torch.save({"model": {"w": torch.ones(3)}, "optimizer": adam}, tmp_path / "a.pt")
    assert not open_checkpoint(tmp_path / "a.pt").steps


@pytest.mark.parametrize("form", FORMS)
def test_whole_modules_give_what_their_state_dict_gives(tmp_path, form):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.MultiheadAttention(4, 2)
    )
    torch.save({"net": net, "step": 1}, tmp_path / "net.pt", **FORMS[form])
    check_by_name(open_checkpoint(tmp_path / "net.pt"), net.state_dict())


def check_by_name(checkpoint, expected):
    check(checkpoint, {name: expected[name] for name in checkpoint.tensors})
    assert set(checkpoint.tensors) == set(expected)


def test_several_networks_side_by_side_are_all_kept(tmp_path):
    saved = {"encoder": {"w": torch.ones(2)}, "decoder": {"w": torch.ones(3)}}
    torch.save(saved, tmp_path / "a.pt")
    assert list(open_checkpoint(tmp_path / "a.pt").tensors) == ["encoder.w", "decoder.w"]


@pytest.mark.parametrize("value", [torch.ones(3), [torch.ones(3)], torch.nn.Linear(2, 2)])
def test_other_things_at_the_top(tmp_path, value):
    torch.save(value, tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").parameters >= 3


def test_shared_containers_do_not_multiply(tmp_path):
    level = {"w": torch.ones(2)}
    for _ in range(60):
        level = {"a": level, "b": level}
    torch.save(level, tmp_path / "a.pt")
    assert len(open_checkpoint(tmp_path / "a.pt").tensors) == 1


def test_deflated_and_big_endian_archives(tmp_path):
    values = torch.arange(100, dtype=torch.float32).reshape(4, 25)
    torch.save({"w": values.t()}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("byteorder"):
                content = b"big"
            elif "/data/" in name:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            new.writestr(name, content)
    check(open_checkpoint(tmp_path / "b.pt"), {"w": values.t()})


def test_containers_that_hold_themselves(tmp_path):
    saved = {"w": torch.ones(2)}
    saved["model"] = saved
    saved["state_dict"] = {"model": saved}
    torch.save(saved, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert [tensor.size for tensor in checkpoint.tensors.values()] == [2]
    assert len(str(checkpoint.notes)) < 20_000


def test_long_keys_do_not_multiply(tmp_path):
    torch.save({"k" * 10_000: {str(i): torch.ones(1) for i in range(50)}}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="2000 characters"):
        open_checkpoint(tmp_path / "a.pt")


def test_what_is_not_read_is_noted(tmp_path):
    sparse = torch.eye(3).to_sparse()
    torch.save({"w": torch.ones(2), "s": sparse, 3: torch.ones(1)}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert list(checkpoint.tensors) == ["w", "3"]
    assert checkpoint.notes == ("skipped 's': sparse_tensor is not read",)


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", FORMS)
def test_code_in_a_pickle_never_runs(tmp_path, form):
    marker = tmp_path / "marker"
    torch.save({"w": torch.ones(3), "evil": Bomb(marker)}, tmp_path / "a.pt", **FORMS[form])
    torch.save({"evil": Bomb(marker)}, tmp_path / "b.pt", **FORMS[form])
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Bomb(marker)))
    assert open_checkpoint(tmp_path / "a.pt").tensors["w"].read().tolist() == [1, 1, 1]
    for name in ("b.pt", "c.pt"):
        with pytest.raises(InputError):
            open_checkpoint(tmp_path / name)
    assert not marker.exists()


def archive(path, data, **members):
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a/data.pkl", data)
        for name, content in members.items():
            out.writestr(f"a/data/{name.removeprefix('_')}", content)
    return path


class _Storage:
    def __init__(self, count, kind="FloatStorage", key="0"):
        self.id = ("storage", getattr(torch, kind), key, "cpu", count)


class _View:
    def __init__(self, storage, *arguments):
        self.arguments = (storage, *arguments, False, collections.OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, _Storage) else None


def dumps(value):
    out = io.BytesIO()
    _Pickler(out, 2).dump(value)
    return out.getvalue()


def test_the_forger_forges_valid_archives(tmp_path):
    data = dumps({"w": _View(_Storage(4), 0, (2, 2), (2, 1))})
    content = np.arange(4, dtype=np.float32).tobytes()
    tensor = open_checkpoint(archive(tmp_path / "a.pt", data, _0=content)).tensors["w"]
    assert tensor.read().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "view",
    [
        (0, (2**60,), (0,)),
        (0, (2**30, 2**30), (0, 0)),
        (0, (2, 2), (4, 1)),
        (3, (2,), (1,)),
        (2**62, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (1,) * 200, (1,) * 200),
        (0, (2.0,), (1,)),
        (0, 4, 1),
        (None, (2,), (1,)),
        (0, (2**70,), (0,)),
    ],
)
def test_views_outside_their_storage(tmp_path, view):
    path = archive(tmp_path / "a.pt", dumps({"w": _View(_Storage(4), *view)}), _0=bytes(16))
    with pytest.raises(InputError):
        open_checkpoint(path)


def test_a_missing_storage_is_named(tmp_path):
    data = dumps({"layer.w": _View(_Storage(4, key="7"), 0, (4,), (1,))})
    with pytest.raises(InputError, match=r"layer\.w.*'7'"):
        open_checkpoint(archive(tmp_path / "a.pt", data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"N",
        b"N.",
        b"\x80\x02",
        b"(.",
        b"0.",
        b"R.",
        b"h\x05.",
        b"(((((t.",
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b")" + b"\x85" * 500_000 + b".",
        b"}" + b")" + b"\x85" * 200_000 + b"Ns.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"S'\\d'\n.",
        b"cos\nsystem\n.",
        b"cos\nsystem\n)R.",
        b"\x8c\x02os\x8c\x06system\x93)\x81}b.",
        b"(ios\nsystem\n.",
        b"\x82\x01.",
        b"Vx\n.",
        b"}q\x00(h\x00h\x00u.",
        b"]q\x00h\x00a.",
        b"}q\x00X\x01\x00\x00\x00ah\x00s.",
    ],
)
def test_odd_pickles(tmp_path, data):
    with pytest.raises(InputError) as caught:
        open_checkpoint(archive(tmp_path / "a.pt", data))
    assert "\n" not in str(caught.value)


def test_plain_data_is_what_pickle_makes_of_it():
    value = {"a": [1, 2.5, None, True, b"x", "y", (1, (2, 3, 4)), 2**80], "b": {"c": -1}}
    for protocol in range(6):
        # before protocol 3 bytes are made by a call to codecs.encode, which is not run
        value["a"][4] = b"x" if protocol > 2 else "x"
        assert read_pickle(io.BytesIO(pickle.dumps(value, protocol))) == value


def test_too_many_operations(monkeypatch):
    monkeypatch.setattr("mother.checkpoints.pickle_data.MAX_OPERATIONS", 1000)
    with pytest.raises(ValueError, match="1000 operations"):
        read_pickle(io.BytesIO(b"N" * 2000 + b"."))


def test_scripted_modules(tmp_path):
    path = tmp_path / "scripted.pt"
    data = b"\x80\x02c__torch__\nNet\n)\x81}(X\x08\x00\x00\x00trainingX\x06\x00\x00\x00weight"
    view = dumps(_View(_Storage(2), 0, (2,), (1,)))[2:-1]
    data = data.replace(b"X\x08\x00\x00\x00training", b"X\x08\x00\x00\x00training\x88")
    archive(path, data + view + b"ub.", _0=bytes(8))
    assert list(open_checkpoint(path).tensors) == ["weight"]


class _OldPickler(pickle.Pickler):
    """As torch 0.4 saved whole modules: their classes with the source, parameters by their call."""

    def __init__(self, file):
        super().__init__(file, 2)
        self.storages, self.told = {}, set()

    def persistent_id(self, value):
        module = isinstance(value, type) and issubclass(value, torch.nn.Module)
        if module and value not in self.told:
            self.told.add(value)
            return ("module", value, "/home/me/net.py", "class Net(nn.Module): ...")
        if isinstance(value, _Kept):
            return ("storage", torch.FloatStorage, value.key, "cpu", len(value.values), None)
        return None

    def reducer_override(self, value):
        if type(value) is torch.nn.Parameter:
            return torch.nn.Parameter, (value.data, True)
        if type(value) is torch.Tensor:
            kept = _Kept(str(id(value)), value.flatten().tolist())
            self.storages[kept.key] = kept.values
            view = kept, 0, tuple(value.shape), value.stride(), False, None
            return torch._utils._rebuild_tensor_v2, view
        return NotImplemented


class _Kept:
    def __init__(self, key, values):
        self.key, self.values = key, values


def test_whole_modules_of_old_torch(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Linear(4, 2))
    with (tmp_path / "old.pt").open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, file, 2)
        pickler = _OldPickler(file)
        pickler.dump(net)
        pickle.dump(list(pickler.storages), file, 2)
        for values in pickler.storages.values():
            file.write(struct.pack("<q", len(values)) + np.array(values, "<f4").tobytes())
    found = open_checkpoint(tmp_path / "old.pt").tensors
    for name, weights in net.state_dict().items():
        assert found[name].read().reshape(weights.shape).tolist() == weights.tolist()


def test_a_legacy_file_that_is_cut_off(tmp_path):
    torch.save({"w": torch.ones(100)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pt").read_bytes()
    for count in range(0, len(whole), 37):
        (tmp_path / "b.pt").write_bytes(whole[:count])
        with pytest.raises(InputError):
            open_checkpoint(tmp_path / "b.pt")


def test_config_is_not_needed(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "weights.unknown")
    checkpoint = open_checkpoint(tmp_path / "weights.unknown", id="mine")
    assert (checkpoint.id, checkpoint.config) == ("mine", {})
    assert json.dumps(checkpoint.notes) == "[]"


def test_names_of_wrappers_are_no_part_of_names(tmp_path):
    stored = {"_fsdp_wrapped_module.l._orig_mod._fsdp_wrapped_module.weight": torch.ones(2)}
    torch.save(stored, tmp_path / "a.pt")
    assert list(open_checkpoint(tmp_path / "a.pt").tensors) == ["l.weight"]


def test_of_a_gan_the_averaged_generator_is_read(tmp_path):
    net = {"conv.weight": torch.ones(4)}
    torch.save(
        {"g": net, "d": {"x": torch.ones(9)}, "g_ema": net, "d_optim": {}}, tmp_path / "a.pt"
    )
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert list(checkpoint.tensors) == ["conv.weight"]
    assert checkpoint.notes == ("read from 'g_ema'", "left out 'g'", "left out 'd'")


@pytest.mark.filterwarnings("ignore")
def test_one_devices_part_is_no_whole_tensor(tmp_path):
    """Of DTensors, as FSDP2 has them, and ShardedTensors, as FSDP had: they count in full."""
    from torch import distributed
    from torch.distributed._shard import sharded_tensor as sharded
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    part, bias = torch.ones(4, 6), torch.ones(8)
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        shard = DTensor.from_local(part, mesh, [Shard(0)], run_check=False)
        whole = DTensor.from_local(bias, mesh, [Replicate()], run_check=False)
        torch.save({"w": shard, "b": whole}, tmp_path / "new.pt")
        torch.save({"w": shard}, tmp_path / "none.pt")
        sides = [sharded.ShardMetadata([4 * k, 0], [4, 6], f"rank:{k}/cpu") for k in range(2)]
        kind = sharded.metadata.TensorProperties(dtype=torch.float32)
        told = sharded.ShardedTensorMetadata(sides, torch.Size([8, 6]), kind)
        held = [sharded.Shard(part, sides[0])]
        old = sharded.ShardedTensor._init_from_local_shards_and_global_metadata(held, told)
        torch.save({"w": old, "b": bias}, tmp_path / "old.pt")
    finally:
        distributed.destroy_process_group()
    for name in ("new", "old"):
        found = open_checkpoint(tmp_path / f"{name}.pt")
        assert (set(found.tensors), found.unread) == ({"b"}, {"w": 48})
    with pytest.raises(InputError, match="one device's part of a DTensor is not read; save it"):
        open_checkpoint(tmp_path / "none.pt")
