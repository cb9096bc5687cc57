"""Any bytes as a checkpoint: read or refused in one line, soon, in bounded memory.

    pip install atheris
    python -m experiments.fuzz.checkpoints gguf SEEDS -max_total_time=900 -rss_limit_mb=2048

The first word is the ending of the files, or a model's folder, of which model.safetensors is
changed and what else is there lies beside it; SEEDS is a folder of good ones; what follows is
libFuzzer's own: https://llvm.org/docs/LibFuzzer.html#options. A crash, a read that is not of the
length asked for, a hang (-timeout) and too much memory end the run and leave the input in a file.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mother.checkpoints"]):
    from mother.checkpoints import discover
    from mother.errors import InputError

READ = 300


def weigh(path: Path) -> None:
    """Open and read the ends of every tensor, as `recover` would."""
    found, problems = discover([path])
    assert len(found) + len(problems) == 1
    faults: list[object] = [*problems]
    for tensor in (tensor for each in found for tensor in each.tensors.values()):
        for start in (0, max(tensor.size - READ, 0)):
            stop = min(start + READ, tensor.size)
            try:
                assert len(tensor.read(start, stop)) == stop - start
            except InputError as error:
                faults.append(error)
            for piece in tensor.slices(start, stop):
                assert 0 <= piece.start <= piece.stop <= piece.file.size
    assert all(len(str(fault).splitlines()) == 1 for fault in faults)


def main() -> None:
    ending = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        path = opened = Path(folder) / f"model.{ending}"
        if Path(ending).is_dir():
            path, opened = Path(folder) / "m" / "model.safetensors", Path(folder) / "m"
            shutil.copytree(ending, opened)

        def one(data: bytes) -> None:
            path.write_bytes(data)
            weigh(opened)

        atheris.Setup(sys.argv, one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
