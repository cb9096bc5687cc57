"""Core ML's packages by coremltools (9.0; no torch needed), and what it decompresses them to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np


def coreml_files(out: Path, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Writes half, palette, int8 and, of iOS 18's operations, blocks and table.mlpackage."""
    import coremltools as ct
    import coremltools.optimize.coreml as compress

    table = compress.OpPalettizerConfig(nbits=4, mode="uniform", weight_threshold=16)
    scales = compress.OpLinearQuantizerConfig(weight_threshold=16)
    blocks = compress.OpLinearQuantizerConfig(
        dtype="int4", granularity="per_block", block_size=16, weight_threshold=16
    )
    return {
        **_saved(out / "half.mlpackage", _model(ct.target.iOS16, weights)),
        **_saved(out / "palette.mlpackage", _model(ct.target.iOS16, weights), table),
        **_saved(out / "int8.mlpackage", _model(ct.target.iOS16, weights), scales),
        **_saved(out / "blocks.mlpackage", _model(ct.target.iOS18, weights), blocks),
        **_saved(out / "table.mlpackage", _model(ct.target.iOS18, weights), table),
    }


def _model(target: Any, weights: dict[str, np.ndarray]) -> Any:
    import coremltools as ct
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 32))], opset_version=target)
    def program(x: Any) -> Any:
        held = {n: Builder.const(val=w, name=n.replace(".", "_")) for n, w in weights.items()}
        y = Builder.relu(x=Builder.linear(x=x, weight=held["fc.weight"], bias=held["fc.bias"]))
        return Builder.linear(x=y, weight=held["head.weight"])

    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        skip_model_load=True,
    )


def _saved(path: Path, model: Any, config: Any = None) -> dict[str, np.ndarray]:
    """Writes the model, compressed where a config is given. Returns what its weights are."""
    import coremltools.optimize.coreml as compress

    if config is not None:
        way = (
            compress.palettize_weights
            if isinstance(config, compress.OpPalettizerConfig)
            else compress.linear_quantize_weights
        )
        model = way(model, compress.OptimizationConfig(global_config=config))
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))
    whole = model if config is None else compress.decompress_weights(model)
    found = compress.get_weights_metadata(whole, weight_threshold=1)
    return {f"{path.name}|{name}": np.asarray(told.val) for name, told in found.items()}
