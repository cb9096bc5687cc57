"""Other frameworks' formats, each by its own library, and PyTorch's own ways to store a model.

python -m experiments.formats.writers.frameworks_writer SOURCE OUT [FORMAT ...]
pip install torch safetensors onnx onnxruntime openvino nncf tensorflow-cpu keras flax
pip install orbax-checkpoint
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from experiments.formats.family import HEADS, KEYS, Llama
from experiments.formats.writers.told import META, each, place, tell

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
SAME = ("duplicate", "converted", "contains")
Weights = Mapping[str, torch.Tensor]


def by_torch(weights: Weights, net: Llama, out: Path) -> dict[str, Callable[[], None]]:
    def saved(
        name: str,
        save: Callable[[Path], Any],
        library: str = "torch",
        values: Weights = weights,
    ) -> Callable[[], None]:
        def make() -> None:
            save(place(out, name))
            tell(place(out, name), library, values, relations=SAME)

        return make

    def nemo(path: Path) -> None:
        content = io.BytesIO()
        torch.save(dict(weights), content)
        with tarfile.open(path, "w") as archive:
            for name, data in (
                ("model_config.yaml", b"a: 1\n"),
                ("model_weights.ckpt", content.getvalue()),
            ):
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    def distributed(path: Path) -> None:
        from torch.distributed import checkpoint

        checkpoint.save(dict(weights), checkpoint_id=path)

    def meta(path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        torch.save(metas(weights), path / "consolidated.00.pth")
        (path / "params.json").write_text(
            f'{{"dim": 256, "n_layers": 2, "n_heads": {HEADS}, "n_kv_heads": {KEYS}}}'
        )

    def traced(path: Path) -> None:
        torch.jit.trace(net, torch.zeros(1, 8, dtype=torch.int64)).save(str(path))

    old = {"_use_new_zipfile_serialization": False}
    script = {
        "torch-zip.pt": saved("torch-zip.pt", lambda p: torch.save(dict(weights), p)),
        "torch-legacy.pth": saved(
            "torch-legacy.pth", lambda p: torch.save(dict(weights), p, **old)
        ),
        "torch-script.jit": saved("torch-script.jit", traced),
        "torch-dcp": saved("torch-dcp", distributed),
        "nemo.nemo": saved("nemo.nemo", nemo),
        "meta": saved("meta", meta, values=metas(weights)),
        "numpy.npz": saved(
            "numpy.npz",
            lambda p: np.savez(p, **{n: w.numpy() for n, w in weights.items()}),
            "numpy",
        ),
    }

    def dynamic(form: str) -> Callable[[], None]:
        def make() -> None:
            path = place(out, f"torch-int8-{form}.pt")
            small = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, torch.qint8)
            if form == "script":
                torch.jit.trace(small, torch.zeros(1, 8, dtype=torch.int64)).save(str(path))
            else:
                torch.save(small.state_dict() if form == "state" else small, path)
            values = {
                n: m.weight().dequantize()
                for n, m in small.named_modules()
                if callable(getattr(m, "weight", None))
            }
            tell(path, "torch", values, scheme="torch int8")

        return make

    return script | {f"torch-int8-{form}": dynamic(form) for form in ("state", "module", "script")}


def metas(weights: Weights) -> dict[str, torch.Tensor]:
    """Under Meta's names, rows of q and k in the order of its rotary positions."""
    made = {}
    for name, w in weights.items():
        for heads, part in ((HEADS, "q_proj"), (KEYS, "k_proj")):
            if part in name:
                w = w.view(heads, 2, -1, w.shape[1]).transpose(1, 2).reshape(w.shape).contiguous()
        for ours, theirs in META.items():
            name = name.replace(ours, theirs)
        made[name] = w
    return made


def by_onnx(weights: Weights, net: Llama, out: Path) -> dict[str, Callable[[], None]]:
    import onnx
    from onnxruntime import quantization as ort

    plain = place(out, "onnx.onnx")

    def exported(path: Path) -> None:
        tokens = torch.zeros(1, 8, dtype=torch.int64)
        torch.onnx.export(net, (tokens,), str(path), dynamo=False, opset_version=17)

    def whole() -> None:
        exported(plain)
        tell(plain, "onnx", weights, relations=SAME, how="torch.onnx.export")

    def beside() -> None:
        path = place(out, "onnx-external.onnx")
        exported(path)
        made, data = onnx.load(path), f"{path.name}_data"
        onnx.save(made, path, save_as_external_data=True, location=data, size_threshold=256)
        tell(path, "onnx", weights, relations=SAME, how="external data")

    def newer() -> None:
        """By the exporter that is torch's own since 2.9, which turns and names matrices anew."""
        path = place(out, "onnx-dynamo.onnx")
        tokens = torch.zeros(1, 8, dtype=torch.int64)
        torch.onnx.export(net, (tokens,), str(path), dynamo=True, external_data=False)
        tell(path, "onnx", {}, relations=SAME, how="torch.onnx.export with dynamo")

    def eight() -> None:
        path = place(out, "onnx-int8.onnx")
        ort.quantize_dynamic(plain, path, weight_type=ort.QuantType.QInt8)
        tell(path, "onnxruntime", {}, scheme="int8", how="quantize_dynamic")

    def four() -> None:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        path = place(out, "onnx-4bit.onnx")
        made = MatMulNBitsQuantizer(onnx.load(plain), block_size=32, is_symmetric=True)
        made.process()
        made.model.save_model_to_file(str(path), False)
        tell(path, "onnxruntime", {}, scheme="4", how="MatMulNBits")

    makers = {"onnx": whole, "onnx-external": beside, "onnx-dynamo": newer}
    return makers | {"onnx-int8": eight, "onnx-4bit": four}


def by_openvino(net: Llama, weights: Weights, out: Path) -> dict[str, Callable[[], None]]:
    def maker(name: str, mode: str | None, scheme: str, options: dict) -> Callable[[], None]:
        def make() -> None:
            import nncf
            import openvino as ov

            tokens = torch.zeros(1, 8, dtype=torch.int64)
            model = ov.convert_model(net, example_input=tokens)
            if mode:
                model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode[mode], **options)
            folder = place(out, name)
            folder.mkdir(parents=True, exist_ok=True)
            ov.save_model(model, folder / "written.xml", compress_to_fp16=name.endswith("16"))
            plain = weights if name == "openvino" else {}
            relations = ("quantized",) if mode else SAME
            tell(folder, "openvino", plain, relations=relations, scheme=scheme)

        return make

    four = {"group_size": 64, "ratio": 1.0, "all_layers": True}
    return {
        "openvino": maker("openvino", None, "", {}),
        "openvino-fp16": maker("openvino-fp16", None, "", {}),
        "openvino-int8": maker("openvino-int8", "INT8_ASYM", "int8", {}),
        "openvino-int4": maker("openvino-int4", "INT4_ASYM", "int4", four),
        "openvino-nf4": maker("openvino-nf4", "NF4", "NF4", four),
        "openvino-fp8": maker("openvino-fp8", "FP8_E4M3", "FP8 e4m3", four),
        "openvino-mxfp4": maker("openvino-mxfp4", "MXFP4", "MXFP4", {"all_layers": True}),
    }


def nested(weights: Weights) -> dict:
    """As JAX's libraries nest them: kernels the other way round, embeddings and scales by name."""
    tree: dict = {}
    for name, w in weights.items():
        *path, _ = name.split(".")
        at = tree
        for part in path:
            at = at.setdefault(part, {})
        last = "embedding" if "embed" in name else "scale" if w.ndim == 1 else "kernel"
        at[last] = np.ascontiguousarray(w.numpy().T if last == "kernel" else w.numpy())
    return tree


def flat(tree: Mapping[str, Any], name: str = "") -> dict[str, np.ndarray]:
    found = {}
    for key, value in tree.items():
        at = f"{name}.{key}".strip(".")
        found |= flat(value, at) if isinstance(value, Mapping) else {at: value}
    return found


def by_jax_and_tensorflow(weights: Weights, out: Path) -> dict[str, Callable[[], None]]:
    tree = nested(weights)

    def flax() -> None:
        import flax.serialization

        path = place(out, "flax.msgpack")
        path.write_bytes(flax.serialization.msgpack_serialize({"params": tree}))
        tell(path, "flax", flat(tree), relations=SAME)

    def orbax() -> None:
        import orbax.checkpoint

        path = place(out, "orbax").absolute()
        orbax.checkpoint.PyTreeCheckpointer().save(path, {"params": tree}, force=True)
        tell(path, "orbax-checkpoint", flat(tree), relations=SAME)

    def modules() -> Any:
        import tensorflow as tf

        def module(part: Mapping[str, Any]) -> Any:
            made = tf.Module()
            for key, value in part.items():
                held = module(value) if isinstance(value, Mapping) else tf.Variable(value, name=key)
                setattr(made, f"layer_{key}" if key.isdigit() else key, held)
            return made

        return tf, module(tree)

    def checkpoint() -> None:
        tf, made = modules()
        folder = place(out, "tensorflow-checkpoint")
        tf.train.Checkpoint(model=made).write(str(folder / "written"))
        tell(folder, "tensorflow-cpu", flat(tree), relations=SAME)

    def saved_model() -> None:
        tf, made = modules()
        tf.saved_model.save(made, str(place(out, "tensorflow-saved")))
        path = place(out, "tensorflow-saved")
        tell(path, "tensorflow-cpu", flat(tree), relations=SAME, how="SavedModel")

    def keras() -> None:
        import keras

        class Held(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                for name, w in weights.items():
                    label = name.removesuffix(".weight").replace(".", "_")
                    if "embed" in name:
                        layer = keras.layers.Embedding(*w.shape, name=label)
                        layer.build((None,))
                    elif w.ndim == 1:
                        layer = keras.layers.RMSNormalization(name=label)
                        layer.build((None, w.shape[0]))
                    else:
                        layer = keras.layers.Dense(w.shape[0], use_bias=False, name=label)
                        layer.build((None, w.shape[1]))
                    layer.set_weights(
                        [w.numpy().T if w.ndim == 2 and "embed" not in name else w.numpy()]
                    )
                    setattr(self, label, layer)

        path = place(out, "keras.weights.h5")
        model = Held()
        model.built = True
        model.save_weights(path)
        tell(path, "keras", flat(tree), relations=SAME)

    def orbax_zarr3() -> None:
        import orbax.checkpoint as ocp

        path = place(out, "orbax-zarr3").absolute()
        saver = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True))
        saver.save(path, {"params": tree}, force=True)
        tell(path, "orbax-checkpoint", flat(tree), relations=SAME, how="Zarr 3")

    return {
        "flax": flax,
        "orbax": orbax,
        "orbax-zarr3": orbax_zarr3,
        "tensorflow-checkpoint": checkpoint,
        "tensorflow-saved": saved_model,
        "keras": keras,
    }


def main(source: Path, out: Path, chosen: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    net = Llama()
    net.load_state_dict(weights)
    net.eval()
    makers = by_torch(weights, net, out)
    makers |= by_onnx(weights, net, out)
    makers |= by_openvino(net, weights, out)
    makers |= by_jax_and_tensorflow(weights, out)
    each(makers, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), sys.argv[3:])
