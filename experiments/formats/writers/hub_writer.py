"""What hubs hold beside: exported programs, Core ML, BitNet, MLC-LLM, and GGML of before GGUF.

python -m experiments.formats.writers.hub_writer SOURCE OUT [FORMAT ...]
pip install torch safetensors gguf            for exported, mlc and ggml
pip install coremltools safetensors           for coreml
pip install torch transformers safetensors    for bitnet

Those of MLC-LLM and of llama.cpp in 2023 are written here by their descriptions: neither has a
package that writes them.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments.formats.writers.told import META, each, place, tell

SAME = ("duplicate", "converted", "contains")
Weights = dict[str, np.ndarray]


def is_linear(name: str) -> bool:
    return "_proj" in name


def exported(weights: Weights, out: Path) -> None:
    import torch

    class Held(torch.nn.Module):
        """A program that needs all weights, whatever they are of."""

        def __init__(self) -> None:
            super().__init__()
            for name, w in weights.items():
                self.register_parameter(
                    name.replace(".", "_"), torch.nn.Parameter(torch.from_numpy(w))
                )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + sum(w.sum() for w in self.parameters())

    path = place(out, "exported.pt2")
    torch.export.save(torch.export.export(Held(), (torch.ones(1),)), path)
    values = dict(torch.export.load(path).state_dict)
    tell(path, "torch", values, relations=SAME, how="torch.export.save")


def coreml(kind: str) -> Callable[[Weights, Path], None]:
    def make(weights: Weights, out: Path) -> None:
        import coremltools as ct
        import coremltools.optimize.coreml as compress

        path = place(out, f"coreml-{kind}.mlpackage")
        model = _program(weights)
        if kind == "palette4":
            config: Any = compress.OpPalettizerConfig(nbits=4, mode="uniform")
            model = compress.palettize_weights(
                model, compress.OptimizationConfig(global_config=config)
            )
        elif kind == "int8":
            config = compress.OpLinearQuantizerConfig()
            model = compress.linear_quantize_weights(
                model, compress.OptimizationConfig(global_config=config)
            )
        shutil.rmtree(path, ignore_errors=True)
        model.save(str(path))
        whole = model if kind == "fp16" else compress.decompress_weights(model)
        held = compress.get_weights_metadata(whole, weight_threshold=64)
        values = {n: np.asarray(told.val) for n, told in held.items()}
        scheme = {"palette4": "Core ML palette of 4 bits", "int8": "Core ML int8"}.get(kind, "")
        relations = ("quantized",) if scheme else SAME
        tell(path, "coremltools", values, scheme=scheme, relations=relations)
        del ct

    return make


def _program(weights: Weights) -> Any:
    """A Core ML program that multiplies by all matrices; vectors are added as they are."""
    import coremltools as ct
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1,))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        for name, w in weights.items():
            held = Builder.const(val=w, name=name.replace(".", "_"))
            part = Builder.reduce_sum(x=Builder.mul(x=held, y=x), keep_dims=False)
            x = Builder.add(x=x, y=part)
        return x

    return ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )


def bitnet(weights: Weights, out: Path) -> None:
    import torch
    from transformers.integrations.bitnet import pack_weights, unpack_weights

    path, stored, values = place(out, "bitnet"), dict[str, np.ndarray](), dict[str, Any]()
    for name, w in weights.items():
        if not is_linear(name):
            stored[name] = w
            continue
        scale = 1 / np.abs(w).mean()
        codes = np.clip(np.rint(w * scale), -1, 1).astype(np.int8)
        packed = pack_weights(torch.from_numpy(codes))
        stored[name] = packed.numpy()
        stored[f"{name}_scale"] = np.array([scale], np.float32)
        values[name] = unpack_weights(packed, torch.float32).numpy() / np.float32(scale)
    path.mkdir(parents=True, exist_ok=True)
    save_file(stored, path / "model.safetensors")
    told = {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"}
    config = json.loads((out.parent / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": told}))
    tell(path, "transformers", values, scheme="BitNet 1.58 bit", how="pack_weights")


def mlc(weights: Weights, out: Path) -> None:
    path, body, records = place(out, "mlc-q4f16_1"), b"", []
    values = {}
    for name, w in weights.items():
        parts = {name: w.astype(np.float16)}
        if w.ndim == 2:
            groups = w.reshape(len(w), -1, 32)
            scale = (np.abs(groups).max(axis=2) / 7).astype(np.float16)
            wide = np.maximum(scale.astype(np.float32), 1e-8)[:, :, None]
            codes = np.clip(np.rint(groups / wide) + 7, 0, 14).astype(np.uint32)
            values[name] = ((codes.astype(np.float32) - 7) * scale[:, :, None]).astype("f2")
            eights = codes.reshape(len(w), -1, 8) << (4 * np.arange(8, dtype=np.uint32))
            module = name.removesuffix(".weight")
            packed = np.bitwise_or.reduce(eights, axis=2)
            parts = {f"{module}.q_weight": packed, f"{module}.q_scale": scale}
        for part, held in parts.items():
            entry = {"name": part, "shape": held.shape, "dtype": str(held.dtype), "format": "raw"}
            records.append(entry | {"nbytes": held.nbytes, "byteOffset": len(body)})
            body += held.tobytes()
    path.mkdir(parents=True, exist_ok=True)
    (path / "params_shard_0.bin").write_bytes(body)
    shard = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "records": records}
    (path / "ndarray-cache.json").write_text(json.dumps({"metadata": {}, "records": [shard]}))
    values = {n: v.reshape(weights[n].shape) for n, v in values.items()}
    tell(path, "numpy", values, scheme="MLC 4 bit g32", how="by mlc-llm's description")


def ggml(kind: str) -> Callable[[Weights, Path], None]:
    """As convert.py of llama.cpp did: Meta's names, and queries and keys in Meta's order."""

    def make(weights: Weights, out: Path) -> None:
        import gguf

        heads = {"q_proj": 4, "k_proj": 2}
        config = json.loads((out.parent / "config.json").read_text())
        width, layers = config["hidden_size"], config["num_hidden_layers"]
        body = b"tjgg" + struct.pack("<8i", 3, 1, width, 256, 4, layers, width // 4, 2)
        body += struct.pack("<i", 1) + b"a" + bytes(4)
        values, type_ = {}, getattr(gguf.GGMLQuantizationType, kind)
        for name, w in weights.items():
            called = name
            for theirs, ours in META.items():
                called = called.replace(theirs, ours)
            of = next((n for part, n in heads.items() if part in name), 0)
            if of:
                w = w.reshape(of, 2, len(w) // of // 2, -1).swapaxes(1, 2).reshape(w.shape)
            coded = w.ndim == 2
            data = gguf.quants.quantize(w, type_) if coded else w
            number = int(type_) if coded else 0
            body += struct.pack("<3i", w.ndim, len(called), number)
            body += struct.pack(f"<{w.ndim}i", *w.shape[::-1]) + called.encode()
            body += bytes(-len(body) % 32) + data.tobytes()
            if coded:
                values[called] = gguf.quants.dequantize(data, type_)
        path = place(out, f"ggml-{kind}.bin")
        path.write_bytes(body)
        scheme = kind if kind.startswith("Q") else ""
        relations = ("quantized",) if scheme else SAME
        how = "by the description of llama.cpp in 2023"
        tell(path, "gguf", values, scheme=scheme, relations=relations, how=how)

    return make


MAKERS: dict[str, Callable[[Weights, Path], None]] = {
    "exported": exported,
    **{f"coreml-{kind}": coreml(kind) for kind in ("fp16", "palette4", "int8")},
    "bitnet": bitnet,
    "mlc": mlc,
    **{f"ggml-{kind}": ggml(kind) for kind in ("F16", "Q4_0", "Q8_0")},
}


def main(source: Path, out: Path, chosen: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "config.json", out.parent / "config.json")
    weights = load_file(source / "model.safetensors")
    each({n: lambda make=make: make(weights, out) for n, make in MAKERS.items()}, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), sys.argv[3:])
