import concurrent.futures
import io
import struct
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest

from mother.checkpoints import open_checkpoint
from mother.checkpoints.zip_archive import Deflated
from mother.errors import InputError

RNG = np.random.default_rng(0)
ARRAYS = {
    "matrix": RNG.normal(size=(30, 40)).astype(np.float32),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 4, 5))),
    "big": np.arange(50, dtype=">f4"),
    "big_fortran": np.asfortranarray(np.arange(12, dtype=">i2").reshape(3, 4)),
    "half": RNG.normal(size=9).astype(np.float16),
    "nested/name": np.arange(4, dtype=np.uint8),
    "complex": np.ones(3, np.complex64),
    "flag": np.array([True, False]),
    "scalar": np.array(2.0),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_as_numpy_wrote_them(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert checkpoint.format == "npz"
    assert list(checkpoint.tensors) == list(ARRAYS)
    for name, tensor in checkpoint.tensors.items():
        flat = ARRAYS[name].ravel()
        assert tensor.shape == ARRAYS[name].shape
        for start, stop in [(0, None), (1, 3), (5, 29), (2, 2), (700, 1100), (3, 4)]:
            read = tensor.read(start, stop)
            np.testing.assert_array_equal(read, flat[start:stop])
            assert read.dtype == tensor.dtype == flat.dtype.newbyteorder("=")


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_that_leave_the_ending_of_names_out(tmp_path, how):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", how) as archive:
        archive.writestr("settings.json", "{}")
        for name in ("matrix", "half"):
            content = io.BytesIO()
            np.save(content, ARRAYS[name])
            archive.writestr(f"{name}.weight", content.getvalue())
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert list(checkpoint.tensors) == ["matrix.weight", "half.weight"]
    assert checkpoint.notes == ("skipped 'settings.json': no array",)
    np.testing.assert_array_equal(
        checkpoint.tensors["matrix.weight"].read(), ARRAYS["matrix"].ravel()
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_single_arrays(tmp_path, name):
    np.save(tmp_path / "a.npy", ARRAYS[name])
    checkpoint = open_checkpoint(tmp_path / "a.npy")
    assert (checkpoint.format, list(checkpoint.tensors)) == ("npy", ["array"])
    np.testing.assert_array_equal(checkpoint.tensors["array"].read(), ARRAYS[name].ravel())


def test_nameless_bfloat16(tmp_path):
    values = np.arange(6).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "a.npz", w=values)
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    np.testing.assert_array_equal(checkpoint.tensors["w"].read(), values)
    assert "bfloat16" in checkpoint.notes[0]


def test_what_is_no_numbers_is_skipped_with_a_note(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "a.npz", w=np.ones(2), o=objects, s=np.array(["x"]), r=np.ones(2, "f4,i4"))
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert list(checkpoint.tensors) == ["w"]
    assert len(checkpoint.notes) == 3
    np.savez(tmp_path / "b.npz", o=objects)
    np.save(tmp_path / "b.npy", objects)
    for name in ("b.npz", "b.npy"):
        with pytest.raises(InputError, match="Python objects"):
            open_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("descr", "order", "shape"),
    [
        ("'<f4'", "False", "(1152921504606846976,)"),
        ("'<f4'", "False", "(4294967296, 4294967296)"),
        ("'<f4'", "False", "(-2,)"),
        ("'<f4'", "False", "(99999999999999999999999,)"),
        ("'<f4'", "False", "(2"),
        ("'<f4'", "Maybe", "(2,)"),
        ("'<f4'", "True", "(2,)*9"),
        ("'<f3'", "False", "(2,)"),
        ("'|O'", "False", "(2,)"),
        ("__import__('os').system('true')", "False", "(2,)"),
        ("[('a', '<f4')]", "False", "(2,)"),
        ("'<f4'", "False", "(" + "1," * 60 + ")"),
        ("'<f4'", "False", "(٣,)"),
    ],
)
def test_headers_that_lie(tmp_path, descr, order, shape):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + bytes(8))
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_bombs_are_refused_before_anything_is_allocated(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(40 << 20, np.uint8), v=np.zeros(40 << 20))
    with pytest.raises(InputError, match="bomb"):
        open_checkpoint(tmp_path / "a.npz")


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def patched(path, entry_offset, form, value):
    """The archive with a field of its first directory entry overwritten."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.index(b"PK\x01\x02") + entry_offset, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (8, "<H", 1),
        (10, "<H", 12),
        (20, "<I", 5),
        (20, "<I", 0x7FFFFFFF),
        (24, "<I", 0x7FFFFFFF),
        (28, "<H", 0xFFFF),
        (42, "<I", 77),
        (42, "<I", 0x7FFFFFFF),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_directories_that_lie(tmp_path, save, offset, form, value):
    save(tmp_path / "a.npz", w=np.arange(100.0), v=np.arange(50.0))
    with pytest.raises(InputError):
        open_checkpoint(patched(tmp_path / "a.npz", offset, form, value)).tensors["w"].read()


def test_overlapping_and_repeated_members(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a.npy", npy(np.ones(3)))
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[at:end]
    for other in (entry, entry.replace(b"a.npy", b"b.npy")):
        tail = bytearray(data[end:])
        struct.pack_into("<HHI", tail, 8, 2, 2, 2 * len(entry))
        path.write_bytes(data[:at] + entry + other + bytes(tail))
        with pytest.raises(InputError):
            open_checkpoint(path)


def test_a_deflated_member_that_ends_early_or_is_damaged(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=RNG.normal(size=5000))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[5000:15000] = bytes(10_000)
    (tmp_path / "a.npz").write_bytes(data)
    tensor = open_checkpoint(tmp_path / "a.npz").tensors["w"]
    # what lies before the damage may be read
    assert tensor.read(0, 10).size == 10
    with pytest.raises(InputError, match=r"damaged|early"):
        tensor.read()


def test_slices_of_a_deflated_member_from_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(Deflated, "KEPT", 3)
    values = {f"w{i}": RNG.normal(size=20_000).astype(np.float32) for i in range(6)}
    np.savez_compressed(tmp_path / "a.npz", **values)
    tensors = open_checkpoint(tmp_path / "a.npz").tensors
    jobs = [(name, start) for start in range(0, 20_000, 1000) for name in values] * 2

    def right(job):
        name, start = job
        read = tensors[name].read(start, start + 1000)
        return bool((read == values[name][start : start + 1000]).all())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, jobs))
    assert len(Deflated._kept) <= 3


def test_a_pass_by_slices_inflates_once(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", w=RNG.normal(size=100_000))
    tensor = open_checkpoint(tmp_path / "a.npz").tensors["w"]
    made = []
    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda bits: made.append(1) or real(bits))
    for start in range(0, 100_000, 5000):
        tensor.read(start, start + 5000)
    assert len(made) <= 1


def test_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        out.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="neither"):
        open_checkpoint(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as out:
        out.writestr("readme.txt", "hello")
        out.writestr("w.npy", npy(np.ones(2)))
    assert "readme.txt" in open_checkpoint(tmp_path / "b.npz").notes[0]
