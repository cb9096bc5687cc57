"""`python experiments/formats/fuzz.py SECONDS [SEED]`: changed bytes of each format's test files.

Every input is read whole and by slices, some are searched for in a folder. Whatever happens but a
checkpoint or an InputError of one line is printed and its bytes are kept; the slowest input of each
format and the growth of memory are told.
"""

from __future__ import annotations

import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mother.checkpoints import discover, open_checkpoint
from mother.errors import InputError

DATA = Path(__file__).parent.parent.parent / "tests" / "data" / "formats" / "frameworks"
#: a format: the file or folder that is opened, and its files that are changed
CASES = {
    "plain.onnx": ["plain.onnx"],
    "beside.onnx": ["beside.onnx"],
    "qdq.onnx": ["qdq.onnx"],
    "nbits.onnx": ["nbits.onnx"],
    "model.h5": ["model.h5"],
    "model.keras": ["model.keras"],
    "tf2.index": ["tf2.index"],
    "saved": ["saved/variables/variables.index"],
    "flax_model.msgpack": ["flax_model.msgpack"],
    "int8.tflite": ["int8.tflite"],
    "int4.xml": ["int4.xml"],
    "ct2-int8": ["ct2-int8/model.bin"],
    "net.param": ["net.param", "net.bin"],
    "net.caffemodel": ["net.caffemodel"],
    "half.caffemodel": ["half.caffemodel"],
    "net.params": ["net.params"],
    "net.ckpt": ["net.ckpt"],
    "net.pdparams": ["net.pdparams"],
    "net.weights": ["net.weights", "net.cfg"],
}


def changed(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes set, cut out, copied or put in, mostly near its start or end."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        span = len(data) if rng.random() < 0.5 else min(len(data), 512)
        at = rng.randrange(span)
        if rng.random() < 0.3:
            at = len(data) - 1 - at
        kind = rng.random()
        if kind < 0.6:
            values = (rng.randrange(256), 0, 255, 127, 128, data[at] ^ 1 << rng.randrange(8))
            data[at] = rng.choice(values)
        elif kind < 0.7:
            data[at : at + 8] = rng.randrange(1 << 64).to_bytes(8, "little")
        elif kind < 0.8:
            del data[at : at + rng.randint(1, 16)]
        elif kind < 0.9:
            data[at:at] = data[at : at + rng.randint(1, 16)]
        else:
            del data[at:]
    return bytes(data)


def attempt(path: Path) -> str:
    """How reading went: "read", or "refused"."""
    try:
        checkpoint = open_checkpoint(path)
        for tensor in checkpoint.tensors.values():
            if tensor.size < 1 << 22:
                whole = tensor.read()
                assert (whole.size, whole.dtype) == (tensor.size, tensor.dtype)
            assert tensor.read(1, 3).size == max(0, min(tensor.size, 3) - 1)
    except InputError as error:
        if "\n" in str(error):
            raise ValueError("an error of several lines") from error
        return "refused"
    return "read"


def main(seconds: float, seed: int) -> int:
    faults = 0
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (case, files) in enumerate(CASES.items()):
        rng = random.Random(f"{seed} {case}")
        told, most = Counter[str](), 0.0
        end = time.process_time() + seconds / len(CASES)
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / case if (DATA / case).is_dir() else Path(folder)
            if (DATA / case).is_dir():
                shutil.copytree(DATA / case, home)
            else:
                stem = case.split(".")[0]
                for each in DATA.glob(f"{stem}.*"):
                    shutil.copy(each, home)
            originals = {name: (Path(folder) / name).read_bytes() for name in files}
            while (before := time.process_time()) < end:
                name = rng.choice(files)
                for other, content in originals.items():
                    (Path(folder) / other).write_bytes(content)
                (Path(folder) / name).write_bytes(changed(originals[name], rng))
                try:
                    told[attempt(Path(folder) / case)] += 1
                    if rng.random() < 0.02:
                        discover([folder])
                except Exception as fault:
                    faults += 1
                    kept = Path(tempfile.gettempdir()) / f"fault-{number}-{faults}"
                    kept.write_bytes((Path(folder) / name).read_bytes())
                    print(f"{case}: {type(fault).__name__}: {fault} ({kept})")
                most = max(most, time.process_time() - before)
        print(
            f"{case}: {sum(told.values())} inputs, {dict(told)}, slowest {most:.2f} s", flush=True
        )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(f"{faults} faults; memory grew by {grown:.0f} MB")
    return faults


if __name__ == "__main__":
    sys.exit(bool(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
