"""tests/data/formats: a small layer by the library of each scheme, and what that makes of it again.

    python -m experiments.formats.quantized_files tests/data/formats bitsandbytes mlx ...

Each library needs an environment of its own. A folder holds model.safetensors, config.json where
the scheme has one, and expected.json: the library, its version, the scheme's name, and for each
weight its shape and the SHA-256 of its float32 values, as the library dequantizes it.
"""

import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

NAME = "model.layers.0.mlp.up_proj"


def layer(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.05, (rows, width)).astype(np.float32)


def write(out: Path, name: str, library: str, tensors: dict, config: dict | None, values) -> None:
    """values: what the library reads, a torch tensor or an array of float32."""
    from safetensors.torch import save_file

    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    stored = {NAME + end: tensor.contiguous() for end, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    finish(folder, library, config, np.asarray(values.detach().float().numpy()))


def finish(folder: Path, library: str, config: dict | None, values: np.ndarray) -> None:
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    told = {
        "writer": f"{library} {importlib.metadata.version(library)}",
        "shape": list(values.shape),
        "sha256": hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest(),
    }
    (folder / "expected.json").write_text(json.dumps(told, indent=1) + "\n")


def bitsandbytes(out: Path) -> None:
    import bitsandbytes.functional as functional
    import torch

    weight = torch.from_numpy(layer(24, 64)).bfloat16()
    method = {"quantization_config": {"quant_method": "bitsandbytes"}}
    for name, kind, nested in (
        ("nf4", "nf4", False),
        ("nf4-double", "nf4", True),
        ("fp4", "fp4", False),
    ):
        codes, state = functional.quantize_4bit(
            weight, quant_type=kind, compress_statistics=nested, blocksize=64
        )
        parts = {f".weight.{k}": v for k, v in state.as_dict(packed=True).items()}
        read = functional.dequantize_4bit(codes, state)
        write(out, f"bnb-{name}", "bitsandbytes", {".weight": codes, **parts}, method, read)
    codes, scales, _ = functional.int8_vectorwise_quant(weight.half())
    read = functional.int8_vectorwise_dequant(codes, scales)
    parts = {".weight": codes, ".SCB": scales, ".weight_format": torch.tensor(0, dtype=torch.uint8)}
    write(out, "bnb-int8", "bitsandbytes", parts, method, read)


COMPRESSED = {
    "w4-g32": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}),
    "w4-asymmetric": (
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False},
    ),
    "w3-asymmetric": (
        "pack-quantized",
        {"num_bits": 3, "strategy": "group", "group_size": 32, "symmetric": False},
    ),
    "w8": ("pack-quantized", {"num_bits": 8, "strategy": "channel"}),
    "int8": ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
    "int8-asymmetric": (
        "int-quantized",
        {"num_bits": 8, "strategy": "channel", "symmetric": False},
    ),
    "fp8": ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}),
    "fp8-tensor": ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"}),
    "fp8-block": (
        "float-quantized",
        {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 32]},
    ),
    "nvfp4": (
        "nvfp4-pack-quantized",
        {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
    ),
    "mxfp4": (
        "mxfp4-pack-quantized",
        {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32},
    ),
}


def _parameters(weight, arguments):
    """Scales, zeros and the scale of scales, by the smallest and largest of each part."""
    from compressed_tensors.quantization import utils

    rows, width = weight.shape
    if arguments.strategy in ("group", "tensor_group"):
        parts, axes = weight.reshape(rows, -1, arguments.group_size), (2,)
    elif arguments.strategy == "block":
        high, wide = arguments.block_structure
        parts, axes = weight.reshape(rows // high, high, width // wide, wide), (1, 3)
    else:
        parts, axes = weight, (1,) if arguments.strategy == "channel" else (0, 1)
    low, most = parts.amin(axes), parts.amax(axes)
    if low.ndim < 2:
        low, most = low.reshape(-1, 1), most.reshape(-1, 1)
    whole = None
    if arguments.strategy == "tensor_group":
        whole = utils.generate_gparam(weight.amin(), weight.amax()).reshape(1)
    options = {} if whole is None else {"global_scale": whole}
    return *utils.calculate_qparams(low, most, arguments, **options), whole


def compressed_tensors(out: Path) -> None:
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    for name, (form, told) in COMPRESSED.items():
        arguments = QuantizationArgs(**{"type": "int", "symmetric": True, **told})
        scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
        weight = torch.from_numpy(layer(48, 64)).bfloat16()
        scale, zero, whole = _parameters(weight, arguments)
        parts = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
        if whole is not None:
            parts["weight_global_scale"] = whole
        compressor = BaseCompressor.get_value_from_registry(form)
        stored = compressor.compress(parts, scheme)
        read = compressor.decompress(dict(stored), scheme)["weight"]
        weights = json.loads(arguments.model_dump_json(exclude_none=True))
        config = {"quant_method": "compressed-tensors", "format": form}
        config["config_groups"] = {"group_0": {"targets": ["Linear"], "weights": weights}}
        parts = {f".{end}": tensor for end, tensor in stored.items()}
        write(
            out,
            f"ct-{name}",
            "compressed-tensors",
            parts,
            {"quantization_config": config},
            read,
        )


def mlx(out: Path) -> None:
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    for name, bits, group, kind in (
        ("4bit", 4, 64, mx.float16),
        ("6bit", 6, 32, mx.bfloat16),
        ("3bit", 3, 64, mx.float32),
    ):
        weight = mx.array(layer(16, 128)).astype(kind)
        codes, scales, biases = mx.quantize(weight, group_size=group, bits=bits)
        read = mx.dequantize(codes, scales, biases, group_size=group, bits=bits)
        folder = out / f"mlx-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        parts = {".weight": codes, ".scales": scales, ".biases": biases}
        mx.save_safetensors(
            str(folder / "model.safetensors"), {NAME + k: v for k, v in parts.items()}
        )
        config = {"quantization": {"group_size": group, "bits": bits}}
        finish(folder, "mlx", config, np.array(read.astype(mx.float32)))
    weight = mx.array(layer(16, 128)).astype(mx.bfloat16)
    options = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    codes, scales = mx.quantize(weight, **options)[:2]
    folder = out / "mlx-mxfp4"
    folder.mkdir(parents=True, exist_ok=True)
    parts = {NAME + ".weight": codes, NAME + ".scales": scales}
    mx.save_safetensors(str(folder / "model.safetensors"), parts)
    read = mx.dequantize(codes, scales, **options)
    finish(folder, "mlx", {"quantization": options}, np.array(read.astype(mx.float32)))


def hqq(out: Path) -> None:
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    for bits, group in ((4, 64), (2, 32), (8, 64)):
        linear = torch.nn.Linear(64, 24, bias=False)
        linear.weight.data = torch.from_numpy(layer(24, 64))
        config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=1)
        done = HQQLinear(linear, config, compute_dtype=torch.bfloat16, device="cpu")
        parts = {f".{k}": v for k, v in done.state_dict().items() if torch.is_tensor(v)}
        method = {"quantization_config": {"quant_method": "hqq"}}
        write(out, f"hqq-{bits}bit", "hqq", parts, method, done.dequantize())


def torchao(out: Path) -> None:
    import torch
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    for name, config in (("int8", Int8WeightOnlyConfig()), ("fp8", Float8WeightOnlyConfig())):
        linear = torch.nn.Linear(64, 24, bias=False)
        linear.weight.data = torch.from_numpy(layer(24, 64))
        quantize_(linear, config)
        flat, _ = flatten_tensor_state_dict({"0.weight": linear.weight})
        parts = {end.removeprefix("0"): tensor for end, tensor in flat.items()}
        method = {"quantization_config": {"quant_method": "torchao"}}
        write(out, f"torchao-{name}", "torchao", parts, method, linear.weight.dequantize())


def quanto(out: Path) -> None:
    import torch
    from optimum.quanto import freeze, qfloat8, qint2, qint4, qint8, quantize

    for name, kind, rows, width in (
        *(("int8", qint8, 24, 64), ("fp8", qfloat8, 24, 64)),
        *(("int4", qint4, 27, 96), ("int2", qint2, 27, 96)),
    ):
        model = torch.nn.Sequential(torch.nn.Linear(width, rows, bias=False)).bfloat16()
        model[0].weight.data = torch.from_numpy(layer(rows, width)).bfloat16()
        quantize(model, weights=kind)
        freeze(model)
        parts = {k.removeprefix("0"): v for k, v in model.state_dict().items()}
        method = {"quantization_config": {"quant_method": "quanto"}, "hidden_size": width}
        read = model[0].weight.dequantize()
        write(out, f"quanto-{name}", "optimum-quanto", parts, method, read)


def gptqmodel(out: Path) -> None:
    import torch
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    draw = np.random.default_rng(4)
    rows, width, group = 32, 64, 32
    for name, bits, ordered in (
        ("4bit", 4, False),
        ("4bit-act-order", 4, True),
        ("8bit", 8, False),
        ("2bit", 2, False),
        ("3bit", 3, False),
    ):
        linear = torch.nn.Linear(width, rows, bias=False)
        linear.weight.data = torch.from_numpy(layer(rows, width))
        places = np.arange(width) // group
        places = torch.from_numpy(draw.permutation(places) if ordered else places).int()
        most = 2**bits - 1
        low = torch.stack([linear.weight.data[:, places == g].amin(1) for g in (0, 1)], 1)
        high = torch.stack([linear.weight.data[:, places == g].amax(1) for g in (0, 1)], 1)
        scales = ((high - low) / most).half().float()
        zeros = torch.round(-low / scales).clamp(1, most)
        packed = TorchLinear(
            bits=bits,
            group_size=group,
            sym=False,
            desc_act=ordered,
            in_features=width,
            out_features=rows,
            bias=False,
        )
        packed.pack_original(linear, scales, zeros, places)
        config = {"quant_method": "gptq", "bits": bits, "group_size": group}
        config |= {"desc_act": ordered, "checkpoint_format": "gptq_v2", "sym": False}
        parts = {f".{k}": v for k, v in packed.state_dict().items()}
        read = packed.dequantize_weight().T
        write(
            out,
            f"gptq-{name}",
            "gptqmodel",
            parts,
            {"quantization_config": config},
            read,
        )


LIBRARIES = {
    f.__name__: f for f in (bitsandbytes, compressed_tensors, mlx, hqq, torchao, quanto, gptqmodel)
}

if __name__ == "__main__":
    for library in sys.argv[2:]:
        LIBRARIES[library](Path(sys.argv[1]))
