"""Arrays in the pickle of an .npy, against numpy's own reader, which runs what is in it."""

import io
import os
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest

from mother.checkpoints import discover, open_checkpoint
from mother.errors import InputError

RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(4, 3)).astype(np.float32)
MODEL = {
    "pnet": [SHARED, RNG.normal(size=10), np.asfortranarray(RNG.normal(size=(3, 4)))],
    "rnet": {"conv1": {"weights": RNG.normal(size=(2, 3, 3, 2)).astype(np.float16)}},
    "again": SHARED,
    "big": np.arange(6, dtype=">f4").reshape(2, 3),
    "strided": RNG.normal(size=(6, 4))[::2, ::3],
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(3.0),
    "ints": (np.arange(4), np.array([True, False])),
}
EXPECTED = {
    "pnet.0": SHARED,
    "pnet.1": MODEL["pnet"][1],
    "pnet.2": MODEL["pnet"][2],
    "rnet.conv1.weights": MODEL["rnet"]["conv1"]["weights"],
    "again": SHARED,
    "big": MODEL["big"],
    "strided": MODEL["strided"],
    "empty": MODEL["empty"],
    "scalar": MODEL["scalar"],
    "ints.0": MODEL["ints"][0],
    "ints.1": MODEL["ints"][1],
}


def npy(path, pickled):
    """An .npy of objects with this pickle in it."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled)
    return path


def check(checkpoint):
    assert checkpoint.tensors.keys() == EXPECTED.keys()
    for name, values in EXPECTED.items():
        tensor = checkpoint.tensors[name]
        assert (tensor.shape, tensor.dtype) == (values.shape, values.dtype.newbyteorder("="))
        np.testing.assert_array_equal(tensor.read(), values.reshape(-1))


def test_a_dict_as_numpy_saves_it(tmp_path):
    np.save(tmp_path / "model.npy", MODEL, allow_pickle=True)
    assert np.load(tmp_path / "model.npy", allow_pickle=True).item().keys() == MODEL.keys()
    checkpoint = open_checkpoint(tmp_path / "model.npy")
    assert (checkpoint.id, checkpoint.format) == ("model", "npy")
    check(checkpoint)


@pytest.mark.parametrize("protocol", range(5))
def test_every_protocol_of_numpy_on_python_2_and_3(tmp_path, protocol):
    """The old ones hold bytes as text, encoded when it is loaded."""
    root = np.array(MODEL, dtype=object)
    check(open_checkpoint(npy(tmp_path / "m.npy", pickle.dumps(root, protocol))))


def test_a_list_of_arrays(tmp_path):
    rows = np.empty(2, object)
    rows[0], rows[1] = SHARED, MODEL["pnet"][1]
    np.save(tmp_path / "m.npy", rows, allow_pickle=True)
    checkpoint = open_checkpoint(tmp_path / "m.npy")
    assert list(checkpoint.tensors) == ["0", "1"]
    np.testing.assert_array_equal(checkpoint.tensors["0"].read(), SHARED.reshape(-1))


def test_what_is_not_of_numbers_is_left_out(tmp_path):
    records = np.zeros(2, [("a", "f4")])
    np.save(tmp_path / "m.npy", {"w": SHARED, "r": records, "s": np.array(["x"])})
    checkpoint = open_checkpoint(tmp_path / "m.npy")
    assert list(checkpoint.tensors) == ["w"]
    assert len(checkpoint.notes) == 2


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_it_never_runs(tmp_path):
    marker = tmp_path / "ran"
    root = np.array({"w": SHARED, "b": Bomb(str(marker))}, dtype=object)
    checkpoint = open_checkpoint(npy(tmp_path / "m.npy", pickle.dumps(root)))
    assert list(checkpoint.tensors) == ["w"]
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(str(marker))))
    assert marker.exists()


def array(shape, data, descr=b"f4"):
    """The operations that make one array, its bytes as a text that is then encoded."""
    text = data.encode()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01"
        + pickle.dumps(shape, 2)[2:-1]
        + b"cnumpy\ndtype\nU"
        + bytes([len(descr)])
        + descr
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"c_codecs\nencode\nX"
        + struct.pack("<I", len(text))
        + text
        + b"U\x06latin1\x86Rtb"
    )


def test_what_the_next_tests_write_is_read(tmp_path):
    data = np.float32([1, -2]).tobytes().decode("latin-1")
    checkpoint = open_checkpoint(npy(tmp_path / "m.npy", b"\x80\x02" + array((2,), data) + b"."))
    assert checkpoint.tensors["array"].read().tolist() == [1, -2]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (array((3,), "12345678"), "has 8 bytes, it should be 12"),
        (array((2**62, 2**62), "12345678"), "has 8 bytes"),
        (array((2,), "1234567\u20ac"), "holds a text in place of its bytes"),
        (array((1,) * 40, "1234"), "40 dimensions"),
        (array((-1,), "1234"), "malformed array"),
        (array((2.0,), "12345678"), "malformed array"),
        (array((1,) * 2000, "1234"), "malformed array"),
        (array((2,), "12345678", b"O8"), "no arrays of numbers"),
        (b"N", "no arrays of numbers"),
        (b"(lp0\nh\x00a", "no arrays of numbers"),  # a list that holds itself
        (b"]" * 5000 + b"a" * 4999, "no arrays of numbers"),
        (b"cnumpy\nndarray\nK\x03b", "no arrays of numbers"),
        (b"cnumpy\ndtype\nU\x02f4\x85RK\x03b", "malformed array"),
        (b"}X\xd0\x07\x00\x00" + b"k" * 2000 + b"}U\x01w" + array((1,), "1234") + b"ss", "2000"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path, content, fault):
    with pytest.raises(InputError, match=fault) as raised:
        open_checkpoint(npy(tmp_path / "m.npy", b"\x80\x02" + content + b"."))
    assert "\n" not in str(raised.value)


def test_truncated_anywhere(tmp_path):
    out = io.BytesIO()
    np.save(out, {"a": SHARED, "b": [SHARED.T.copy()]}, allow_pickle=True)
    whole = out.getvalue()
    for length in range(len(whole)):
        (tmp_path / "m.npy").write_bytes(whole[:length])
        with pytest.raises(InputError):
            open_checkpoint(tmp_path / "m.npy")


def test_bytes_that_are_mentioned_often_are_held_once(tmp_path):
    """A megabyte of text under 500 keys: encoded each time, it would take half a gigabyte."""
    text = "\x01" * (1 << 20)
    first = array((1 << 18,), text)
    # the text is put into the memo where it stands, and fetched again by every later array
    head, _, tail = first.partition(text.encode())
    content = b"}(U\x04main" + head + text.encode() + b"q\x01" + tail
    again = array((1 << 18,), "").replace(b"X\x00\x00\x00\x00", b"h\x01")
    for k in range(500):
        content += b"U\x05" + f"{k:05}".encode() + again
    npy(tmp_path / "m.npy", b"\x80\x02" + content + b"u.")
    checkpoint = open_checkpoint(tmp_path / "m.npy")
    assert len(checkpoint.tensors) == 501
    assert len({id(t.source.span.data) for t in checkpoint.tensors.values()}) == 1
    assert checkpoint.tensors["00499"].read(5, 8).tobytes() == b"\x01" * 12


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle_of_any_protocol(tmp_path, protocol):
    path = tmp_path / "detector.pkl"
    path.write_bytes(pickle.dumps({"model": MODEL, "__author__": "x"}, protocol))
    found, problems = discover([tmp_path])
    assert not problems
    (checkpoint,) = found
    assert {n.removeprefix("model.") for n in checkpoint.tensors} == EXPECTED.keys()
    for name, values in EXPECTED.items():
        tensor = checkpoint.tensors[f"model.{name}"]
        np.testing.assert_array_equal(tensor.read(), values.reshape(-1, order="C"))


def test_arrays_stay_in_the_file(tmp_path):
    path = tmp_path / "net.pdparams"
    weights = {f"linear_{k}.w_0": RNG.normal(size=(256, 64)).astype(np.float32) for k in range(3)}
    path.write_bytes(pickle.dumps(weights, 4))
    checkpoint = open_checkpoint(path)
    assert checkpoint.files[0].taken.bytes < path.stat().st_size
    for name, values in weights.items():
        (part,) = checkpoint.tensors[name].slices(64, 128)
        assert path.read_bytes()[part.start : part.stop] == values[1].tobytes()
        np.testing.assert_array_equal(checkpoint.tensors[name].read(64, 128), values[1])
    path.write_bytes(path.read_bytes()[: 3 * 256 * 64 * 4])
    with pytest.raises(InputError, match="truncated"):
        open_checkpoint(path)


def test_what_paddle_saves(tmp_path):
    """Parameters in bfloat16 as their bits, and a table of names beside them."""
    bits = np.arange(600, dtype=np.uint16).reshape(20, 30)
    tree = {"w": bits, "b": np.ones(4, np.float32), "StructuredToParameterName@@": {"w": "w_0"}}
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(tree, 4))
    checkpoint = open_checkpoint(tmp_path / "net.pdparams")
    assert (checkpoint.format, set(checkpoint.tensors)) == ("pickle", {"w", "b"})
    values = checkpoint.tensors["w"].read()
    assert values.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(values.view(np.uint16), bits.reshape(-1))


def test_a_text_that_claims_more_than_there_is_takes_no_memory(tmp_path):
    """Found by fuzzing: a buffer allots what it is asked for."""
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fnumpy")
    with pytest.raises(InputError, match="truncated"):
        open_checkpoint(tmp_path / "m.pkl")


def test_a_pickle_of_joblibs_is_named(tmp_path):
    (tmp_path / "m.joblib").write_bytes(b"\x80\x04\x95\0cjoblib.numpy_pickle\nNumpyArrayWrapper\n")
    with pytest.raises(InputError, match="joblib"):
        open_checkpoint(tmp_path / "m.joblib")
