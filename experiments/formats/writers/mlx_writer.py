"""MLX: mlx_lm's converter.

python -m experiments.formats.writers.mlx_writer SOURCE OUT [FORMAT ...]
pip install 'mlx[cpu]' mlx-lm
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm import utils

from experiments.formats.writers.told import each, place, tell

CASES = {
    "mlx-2bit": {"bits": 2, "group_size": 32},
    "mlx-3bit": {"bits": 3, "group_size": 64},
    "mlx-4bit": {"bits": 4, "group_size": 64},
    "mlx-5bit": {"bits": 5, "group_size": 64},
    "mlx-6bit": {"bits": 6, "group_size": 64},
    "mlx-8bit": {"bits": 8, "group_size": 64},
    "mlx-mxfp4": {"bits": 4, "group_size": 32, "mode": "mxfp4"},
    "mlx-nvfp4": {"bits": 4, "group_size": 16, "mode": "nvfp4"},
    "mlx-mxfp8": {"bits": 8, "group_size": 32, "mode": "mxfp8"},
}


def main(source: Path, out: Path, chosen: list[str]) -> None:
    mx.set_default_device(mx.cpu)

    def maker(name: str, options: dict) -> Callable[[], None]:
        def make() -> None:
            model, config = utils.load_model(source)
            model.set_dtype(mx.bfloat16)
            mode = options.get("mode", "affine")
            parts = options["group_size"], options["bits"], mode
            model, config = utils.quantize_model(model, config, *parts)
            utils.save_model(place(out, name), model)
            utils.save_config(config, config_path=place(out, name) / "config.json")
            values = {}
            for n, module in model.named_modules():
                if hasattr(module, "bits"):
                    biases = module.get("biases")
                    w = mx.dequantize(module.weight, module.scales, biases, *parts[:2], mode=mode)
                    values[n] = np.array(w.astype(mx.float32))
            tell(place(out, name), "mlx", values, scheme="MLX", how="mlx_lm")

        return make

    each({name: maker(name, options) for name, options in CASES.items()}, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
