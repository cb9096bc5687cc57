"""`python -m experiments.formats.frameworks OUT`: one small model in other frameworks' formats.

Each file is written by the format's own library, and `expected.npz` beside them holds what that
library makes of it, under "file|tensor". `versions.json` tells the writers. It needs what is no
extra of the project: onnx, onnxruntime, tensorflow-cpu, keras, flax, orbax-checkpoint, openvino,
nncf, ctranslate2, pnnx and torch; mxnet (with numpy<1.24), paddlepaddle, mindspore and
opencv-python-headless<5; coremltools.
Caffe's and Darknet's own programs are in no registry: their files are written here by their
descriptions, and OpenCV tells what they hold. The tests read what is committed in
tests/data/formats.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

WRITERS = (
    "onnx",
    "onnxruntime",
    "tensorflow-cpu",
    "keras",
    "h5py",
    "flax",
    "orbax-checkpoint",
    "openvino",
    "nncf",
    "ctranslate2",
    "pnnx",
    "torch",
    "mxnet",
    "paddlepaddle",
    "mindspore",
    "opencv-python-headless",
    "coremltools",
)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"embed": (20, 32), "fc.weight": (48, 32), "fc.bias": (48,), "head.weight": (16, 48)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


W = weights()


def onnx_plain(out: Path) -> dict[str, np.ndarray]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def model(tensors, nodes, outputs):
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32])],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            tensors,
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
            ir_version=10,
        )

    fc = numpy_helper.from_array(W["fc.weight"], "fc.weight")
    listed = helper.make_tensor("fc.bias", TensorProto.FLOAT, [48], W["fc.bias"].tolist())
    half = helper.make_tensor("half", TensorProto.FLOAT16, [48], W["fc.bias"].tolist())
    folded = numpy_helper.from_array(W["head.weight"].T.copy(), "onnx::MatMul_7")
    nodes = [
        helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["h"], transB=1),
        helper.make_node("MatMul", ["h", "onnx::MatMul_7"], ["y"], name="/head/MatMul"),
    ]
    made = model([fc, listed, half, folded], nodes, ["y"])
    onnx.save(made, out / "plain.onnx")
    onnx.save(
        made,
        out / "beside.onnx",
        save_as_external_data=True,
        location="beside.onnx_data",
        size_threshold=256,
    )
    plain = {
        "fc.weight": W["fc.weight"],
        "fc.bias": W["fc.bias"],
        "half": W["fc.bias"].astype(np.float16),
        "head.weight": W["head.weight"],
    }
    found = {f"{file}|{n}": v for file in ("plain.onnx", "beside.onnx") for n, v in plain.items()}
    return found | onnx_quantized(out, model)


def onnx_quantized(out: Path, model) -> dict[str, np.ndarray]:
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    session = lambda made: ort.InferenceSession(made.SerializeToString())  # noqa: E731
    q = rng.integers(-128, 128, (48, 32)).astype(np.int8)
    s = rng.uniform(0.01, 0.1, 48).astype(np.float32)
    z = rng.integers(-9, 9, 48).astype(np.int8)
    q4 = rng.integers(0, 16, (32, 16)).astype(np.uint8)
    s4 = rng.uniform(0.01, 0.1, (2, 16)).astype(np.float32)
    z4 = rng.integers(0, 16, (2, 16)).astype(np.uint8)
    tensors = [
        numpy_helper.from_array(q, "fc.weight_quantized"),
        numpy_helper.from_array(s, "fc.weight_scale"),
        numpy_helper.from_array(z, "fc.weight_zero_point"),
        helper.make_tensor("w4", TensorProto.UINT4, [32, 16], q4),
        numpy_helper.from_array(s4, "s4"),
        helper.make_tensor("z4", TensorProto.UINT4, [2, 16], z4),
    ]
    nodes = [
        helper.make_node(
            "DequantizeLinear",
            ["fc.weight_quantized", "fc.weight_scale", "fc.weight_zero_point"],
            ["a"],
            axis=0,
        ),
        helper.make_node("DequantizeLinear", ["w4", "s4", "z4"], ["b"], axis=0, block_size=16),
    ]
    made = model(tensors, nodes, ["a", "b"])
    onnx.save(made, out / "qdq.onnx")
    a, b = session(made).run(None, {"x": np.zeros((1, 32), np.float32)})
    found = {"qdq.onnx|fc.weight": a, "qdq.onnx|w4": b}
    codes = rng.integers(0, 256, (16, 2, 8)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.1, 32).astype(np.float32)
    zeros = rng.integers(0, 256, 16).astype(np.uint8)
    tensors = [
        numpy_helper.from_array(codes, "head.weight_Q4"),
        numpy_helper.from_array(scales, "s"),
        numpy_helper.from_array(zeros, "z"),
    ]
    node = helper.make_node(
        "MatMulNBits",
        ["x", "head.weight_Q4", "s", "z"],
        ["y"],
        name="/head/MatMul_Q4",
        domain="com.microsoft",
        K=32,
        N=16,
        bits=4,
        block_size=16,
    )
    made = model(tensors, [node], ["y"])
    onnx.save(made, out / "nbits.onnx")
    (y,) = session(made).run(None, {"x": np.eye(32, dtype=np.float32)})
    return found | {"nbits.onnx|head.weight": y.T.copy()}


def keras_files(out: Path) -> dict[str, np.ndarray]:
    import keras

    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Embedding(20, 32, name="embed"),
            keras.layers.Dense(48, name="fc"),
            keras.layers.Conv1D(16, 1, use_bias=False, name="head"),
        ]
    )
    head = W["head.weight"].T[None].copy()
    model.set_weights([W["embed"], W["fc.weight"].T, W["fc.bias"], head])
    model.save(out / "model.keras")
    model.save(out / "model.h5")
    model.save_weights(out / "model.weights.h5")
    saved = {"0": W["embed"], "1": W["fc.weight"].T, "2": W["fc.bias"], "3": head}
    places = {
        "0": ("layers/embedding/vars/0", "model_weights/embed/sequential/embed/embeddings"),
        "1": ("layers/dense/vars/0", "model_weights/fc/sequential/fc/kernel"),
        "2": ("layers/dense/vars/1", "model_weights/fc/sequential/fc/bias"),
        "3": ("layers/conv1d/vars/0", "model_weights/head/sequential/head/kernel"),
    }
    found = {}
    for key, (new, old) in places.items():
        found |= {f"model.keras|{new}": saved[key], f"model.weights.h5|{new}": saved[key]}
        found[f"model.h5|{old}"] = saved[key]
    return found | tflite_files(out, model)


def tflite_files(out: Path, model) -> dict[str, np.ndarray]:
    import tensorflow as tf

    found = {}
    for name, quantized in (("plain.tflite", False), ("int8.tflite", True)):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content = converter.convert()
        (out / name).write_bytes(content)
        interpreter = tf.lite.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        taken = {index for op in interpreter._get_ops_details() for index in op["outputs"]} | {
            each["index"] for each in interpreter.get_input_details()
        }
        for each in interpreter.get_tensor_details():
            if each["index"] in taken:
                continue
            value = interpreter.get_tensor(each["index"])
            how = each["quantization_parameters"]
            if value.dtype == np.int8 and len(how["scales"]):
                shape = [-1 if k == how["quantized_dimension"] else 1 for k in range(value.ndim)]
                value = (value.astype(np.float32) - 0) * how["scales"].reshape(shape)
            if value.dtype == np.float32 and value.size > 1:
                found[f"{name}|{each['name']}"] = value
    return found


def tensorflow_files(out: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf

    module = tf.Module()
    module.layers = [tf.Module(), tf.Module()]
    module.layers[0].kernel = tf.Variable(W["fc.weight"].T, name="fc/kernel")
    module.layers[0].bias = tf.Variable(tf.cast(W["fc.bias"], tf.bfloat16), name="fc/bias")
    module.layers[1].kernel = tf.Variable(W["head.weight"].T, name="head/kernel")
    tf.train.Checkpoint(model=module).write(str(out / "tf2"))
    tf.saved_model.save(module, str(out / "saved"))
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("net/fc/kernel", initializer=W["fc.weight"].T)
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()
        saver.save(session, str(out / "tf1"), write_meta_graph=False, write_state=False)
    found = {"tf1.index|net/fc/kernel": W["fc.weight"].T}
    for file in ("tf2.index", "saved"):
        found |= {
            f"{file}|fc/kernel": W["fc.weight"].T,
            f"{file}|fc/bias": W["fc.bias"].astype("bfloat16").astype(np.float32),
            f"{file}|head/kernel": W["head.weight"].T,
        }
    return found


def jax_files(out: Path) -> dict[str, np.ndarray]:
    import flax.serialization
    import jax.numpy as jnp
    import orbax.checkpoint

    half = np.asarray(jnp.asarray(W["fc.bias"], jnp.bfloat16))
    tree = {"params": {"fc": {"kernel": W["fc.weight"].T.copy(), "bias": half}}}
    flax.serialization.MAX_CHUNK_SIZE = 2000
    content = flax.serialization.msgpack_serialize(tree | {"step": 3})
    (out / "flax_model.msgpack").write_bytes(content)
    for name, database in (("orbax", True), ("orbax-zarr", False)):
        writer = orbax.checkpoint.PyTreeCheckpointer(use_ocdbt=database)
        writer.save((out / name).absolute(), tree)
    found = {}
    for file in ("flax_model.msgpack", "orbax", "orbax-zarr"):
        found |= {
            f"{file}|params.fc.kernel": W["fc.weight"].T,
            f"{file}|params.fc.bias": half.astype(np.float32),
        }
    return found


def openvino_files(out: Path) -> dict[str, np.ndarray]:
    import nncf
    import openvino as ov
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 16, bias=False))
    net[0].weight.data, net[0].bias.data = torch.tensor(W["fc.weight"]), torch.tensor(W["fc.bias"])
    net[1].weight.data = torch.tensor(W["head.weight"])
    modes = nncf.CompressWeightsMode
    found = {}
    for name, how in (
        ("plain.xml", {}),
        ("int8.xml", {"mode": modes.INT8_ASYM}),
        ("int4.xml", {"mode": modes.INT4_ASYM, "group_size": 16, "ratio": 1.0, "all_layers": True}),
    ):
        model = ov.convert_model(net, example_input=torch.zeros(1, 32))
        if how:
            model = nncf.compress_weights(model, **how)
        ov.save_model(model, out / name, compress_to_fp16=False)
        for op in ov.Core().read_model(out / name).get_ordered_ops():
            if op.get_type_name() != "MatMul":
                continue
            source = op.input_value(1)
            weight = ov.Core().compile_model(ov.Model([source], []), "CPU")([])[0]
            label = "0.weight" if weight.shape == (48, 32) else "1.weight"
            found[f"{name}|self.{label}"] = np.asarray(weight, np.float32)
    return found


def ctranslate2_files(out: Path) -> dict[str, np.ndarray]:
    from ctranslate2.specs import common_spec, model_spec

    class PairSpec(model_spec.ModelSpec):
        def __init__(self):
            super().__init__()
            self.embeddings = common_spec.EmbeddingsSpec()
            self.linear = common_spec.LinearSpec()

        name = property(lambda self: "PairSpec")
        revision = property(lambda self: 1)

        def get_default_config(self):
            return model_spec.ModelConfig()

    found = {}
    for file, how in (("ct2", None), ("ct2-int8", "int8")):
        spec = PairSpec()
        # quantizing changes arrays in place
        spec.embeddings.weight, spec.linear.weight = W["embed"].copy(), W["fc.weight"].copy()
        spec.linear.bias = W["fc.bias"].copy()
        spec.validate()
        spec.optimize(quantization=how)
        (out / file).mkdir()
        spec.save(str(out / file))
        for name, value in spec.variables().items():
            stored = value.numpy() if hasattr(value, "numpy") else value
            if not name.endswith("weight_scale") and getattr(stored, "ndim", 0) > 0:
                scale = spec.variables().get(f"{name}_scale")
                if scale is not None:
                    stored = stored.astype(np.float32) / scale.numpy().reshape(-1, 1)
                found[f"{file}|{name}"] = stored
    return found


def ncnn_files(out: Path) -> dict[str, np.ndarray]:
    import pnnx
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(2, 6, 3), torch.nn.Linear(24, 5)

        def forward(self, x):
            return self.fc(self.conv(x).flatten(1))

    net = Net()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    net.eval()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        pnnx.export(net, "net.pt", torch.rand(1, 2, 4, 4))
        for end in ("param", "bin"):
            shutil.move(f"net.ncnn.{end}", out / f"net.{end}")
        os.chdir(out)
    half = lambda t: t.detach().numpy().astype(np.float16).astype(np.float32)  # noqa: E731
    return {
        "net.param|conv_0.weight": half(net.conv.weight),
        "net.param|conv_0.bias": net.conv.bias.detach().numpy(),
        "net.param|linear_1.weight": half(net.fc.weight),
        "net.param|linear_1.bias": net.fc.bias.detach().numpy(),
    }


def mxnet_files(out: Path) -> dict[str, np.ndarray]:
    np.bool = bool  # which it takes from numpy, as it was
    import mxnet as mx

    held = {f"arg:{name}": mx.nd.array(w) for name, w in W.items() if "fc" in name}
    held["aux:mean"] = mx.nd.array(W["head.weight"][0], dtype="float16")
    mx.nd.save(str(out / "net.params"), held)
    read = mx.nd.load(str(out / "net.params"))
    return {f"net.params|{name.split(':')[1]}": w.asnumpy() for name, w in read.items()}


def paddle_files(out: Path) -> dict[str, np.ndarray]:
    import paddle

    net = paddle.nn.Sequential(paddle.nn.Linear(32, 24), paddle.nn.Linear(24, 4))
    path = str(out / "net.pdparams")
    paddle.save(net.state_dict(), path)
    return {f"net.pdparams|{name}": w.numpy() for name, w in paddle.load(path).items()}


def mindspore_files(out: Path) -> dict[str, np.ndarray]:
    import mindspore

    held = [{"name": n, "data": mindspore.Tensor(w)} for n, w in W.items() if "fc" in n]
    held.append({"name": "half", "data": mindspore.Tensor(W["head.weight"].astype("f2"))})
    mindspore.save_checkpoint(held, str(out / "net.ckpt"))
    (out / "net.ckpt").chmod(0o644)
    read = mindspore.load_checkpoint(str(out / "net.ckpt"))
    return {f"net.ckpt|{name}": w.asnumpy() for name, w in read.items()}


def part(number: int, data: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes."""
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    key = bytes([number << 3 & 127 | 2 | (128 if number > 15 else 0)])
    key += bytes([number >> 4]) if number > 15 else b""
    return key + length + bytes([size]) + data


def caffe_file() -> bytes:
    """A convolution and a product, as caffe.proto has them."""
    kernel, bias = W["head.weight"].reshape(8, 6, 4, 4), W["fc.bias"][:8]
    layers = b""
    matrix, shift = W["fc.weight"][:, :8].reshape(12, 32), W["fc.bias"][:12]
    for name, kind, blobs in (
        ("conv", "Convolution", (kernel, bias)),
        ("fc", "InnerProduct", (matrix, shift)),
    ):
        held = part(1, name.encode()) + part(2, kind.encode())
        for blob in blobs:
            sides = part(1, bytes(blob.shape))
            held += part(7, part(7, sides) + part(5, blob.astype("<f4").tobytes()))
        layers += part(100, held)
    return part(1, b"net") + layers


CAFFE = """input: "data" input_dim: 1 input_dim: 6 input_dim: 5 input_dim: 5
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
 convolution_param { num_output: 8 kernel_size: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
 inner_product_param { num_output: 12 } }
"""
DARKNET = """[net]
width=8
height=8
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=6
size=1
activation=linear
[route]
layers=-1,-2
[convolutional]
filters=5
size=3
stride=2
pad=1
activation=linear
"""


def darknet_file() -> bytes:
    """The weights of that description, as parser.c loads them."""
    many = [4 * 4, 4 * 3 * 9, 6, 6 * 4, 5, 5 * 10 * 9]
    floats = np.random.default_rng(7).normal(size=sum(many)).astype("<f4")
    floats[12:16] = np.abs(floats[12:16])  # variances
    return np.array([0, 2, 0, 1, 0], "<i4").tobytes() + floats.tobytes()


def opencv_files(out: Path) -> dict[str, np.ndarray]:
    import cv2

    (out / "net.caffemodel").write_bytes(caffe_file())
    (out / "net.cfg").write_text(DARKNET)
    (out / "net.weights").write_bytes(darknet_file())
    with tempfile.TemporaryDirectory() as name:
        described = Path(name) / "net.prototxt"
        described.write_text(CAFFE)
        cv2.dnn.shrinkCaffeModel(str(out / "net.caffemodel"), str(out / "half.caffemodel"))
        expected = {}
        for file in ("net.caffemodel", "half.caffemodel"):
            net = cv2.dnn.readNetFromCaffe(str(described), str(out / file))
            for layer in ("conv", "fc"):
                for k in range(2):
                    values = net.getParam(layer, k)
                    values = values.reshape(-1) if k else values
                    expected[f"{file}|{layer}.{k}"] = values
    net = cv2.dnn.readNetFromDarknet(str(out / "net.cfg"), str(out / "net.weights"))
    for layer, called in (("conv_0", 0), ("conv_1", 1), ("conv_3", 3)):
        kernel = net.getParam(layer, 0)
        expected[f"net.weights|{called}.convolutional.weights"] = kernel
        if called:
            expected[f"net.weights|{called}.convolutional.biases"] = net.getParam(layer, 1).ravel()
    for k, name in enumerate(("rolling_mean", "rolling_variance", "scales", "biases")):
        expected[f"net.weights|0.convolutional.{name}"] = net.getParam("bn_0", k).ravel()
    return expected


def coreml(out: Path) -> dict[str, np.ndarray]:
    from experiments.formats.coreml import coreml_files

    return coreml_files(out, W)


def main(out: Path) -> None:
    """Writes all files; those of a library that is missing stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "expected.npz"
    expected = dict(np.load(kept)) if kept.exists() else {}
    versions = out / "versions.json"
    told = json.loads(versions.read_text()) if versions.exists() else {}
    makers = (
        onnx_plain,
        keras_files,
        tensorflow_files,
        jax_files,
        openvino_files,
        ctranslate2_files,
        ncnn_files,
        mxnet_files,
        paddle_files,
        mindspore_files,
        opencv_files,
        coreml,
    )
    chosen = sys.argv[2:]
    for make in makers:
        if chosen and make.__name__ not in chosen:
            continue
        expected |= make(out)
    for name in WRITERS:
        try:
            told[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    np.savez_compressed(kept, **expected)
    versions.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
