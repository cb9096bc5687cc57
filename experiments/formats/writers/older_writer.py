"""PaddlePaddle's and MXNet's own files, each by its own library.

python -m experiments.formats.writers.older_writer SOURCE OUT [FORMAT ...]
pip install paddlepaddle safetensors
pip install mxnet 'numpy<1.24' safetensors
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from experiments.formats.writers.told import each, place, tell

SAME = ("duplicate", "converted")


def main(source: Path, out: Path, chosen: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")

    def paddle(kind: str) -> Callable[[], None]:
        def make() -> None:
            import paddle

            held = {n: paddle.to_tensor(w).astype(kind) for n, w in weights.items()}
            path = place(out, f"paddle-{kind}.pdparams")
            paddle.save(held, str(path))
            values = {n: w.astype("float32").numpy() for n, w in held.items()}
            tell(path, "paddlepaddle", values, relations=SAME, how="paddle.save")

        return make

    def mxnet(kind: str) -> Callable[[], None]:
        def make() -> None:
            np.bool = bool  # which it takes from numpy, as it was
            import mxnet as mx

            held = {f"arg:{n}": mx.nd.array(w).astype(kind) for n, w in weights.items()}
            path = place(out, f"mxnet-{kind}.params")
            mx.nd.save(str(path), held)
            values = {n: w.astype("float32").asnumpy() for n, w in mx.nd.load(str(path)).items()}
            tell(path, "mxnet", values, relations=SAME, how="nd.save")

        return make

    makers = {f"paddle-{kind}": paddle(kind) for kind in ("float32", "bfloat16")}
    makers |= {f"mxnet-{kind}": mxnet(kind) for kind in ("float32", "float16")}
    each(makers, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), sys.argv[3:])
