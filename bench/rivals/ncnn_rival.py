"""ncnn in f32 from Python, by a network text and weights of its own."""

import glob
import os
import tempfile

import ncnn
import numpy

from protocol import Unsupported, serve
from tensors import Tensors, refuse_unless

AXES = {1: "w", 2: "hw", 3: "dhw"}  # slowest first


class NetworkWriter:
    """A chain of layers as ncnn's .param text and .bin weights."""

    def __init__(self, tensors):
        self.tensors, self.layers, self.blobs, self.weights = tensors, [], ["input"], b""
        self.layers.append(("Input", [], "input", {}))

    def layer(self, kind, parameters=None, more=()):
        name = f"value{len(self.layers)}"
        self.layers.append((kind, [self.blobs[-1], *more], name, parameters or {}))
        self.blobs.append(name)

    def numbers(self, array, flagged=False):
        """Convolution weights have a word before them that says f32."""
        if flagged:
            self.weights += bytes(4)
        self.weights += numpy.ascontiguousarray(array, numpy.float32).tobytes()

    def text(self):
        lines = []
        if self.tensors.add is not None:
            self.layers.insert(0, ("Input", [], "add", {}))
        for number, (kind, inputs, output, parameters) in enumerate(self.layers):
            words = [f"{key}={value}" for key, value in parameters.items()]
            lines.append(" ".join([kind, f"l{number}", str(len(inputs)), "1", *inputs, output, *words]))
        return f"7767517\n{len(lines)} {len(lines)}\n" + "\n".join(lines) + "\n"

    def convolution(self, stage, bias):
        axes = len(stage["kernel"])
        transposed = stage["kind"] == "transposed_conv"
        groups, ci, co = stage["groups"], stage["input"]["channels"], stage["output_channels"]
        name = ("Deconvolution" if transposed else "Convolution") + ("DepthWise" if groups > 1 else "")
        name += {1: "1D", 2: "", 3: "3D"}[axes]
        refuse_unless(min(stage["pad_begin"] + stage["pad_end"]) >= 0, "ncnn has no negative padding")
        weights = self.tensors.weights
        if transposed:  # (CI, CO/groups, ...) to output channels first, group by group
            weights = weights.reshape([groups, ci // groups, co // groups, *stage["kernel"]]).swapaxes(1, 2)
        # By axis, fastest first: kernel, dilation, stride, padding at the beginning and end, output padding.
        places = {
            0: {"kernel": 1, "dilation": 2, "stride": 3, "pad_begin": 4, "pad_end": 15, "output_pad": 18},
            1: {"kernel": 11, "dilation": 12, "stride": 13, "pad_begin": 14, "pad_end": 16, "output_pad": 19},
            2: {"kernel": 21, "dilation": 22, "stride": 23, "pad_begin": 24, "pad_end": 17, "output_pad": 20},
        }
        parameters = {0: co, 5: int(bias), 6: weights.size}
        if groups > 1:
            parameters[7] = groups
        for axis in range(axes):
            for key, place in places[axis].items():
                if key in stage:
                    parameters[place] = stage[key][axes - 1 - axis]
        self.layer(name, parameters)
        self.numbers(weights, flagged=True)
        if bias:
            self.numbers(self.tensors.bias)

    def resize(self, stage):
        refuse_unless(len(stage["factor"]) == 2, "ncnn resizes images only")
        nearest = stage["kind"] == "nearest_upsample"
        height, width = stage["factor"]
        self.layer(
            "Interp",
            {
                0: 1 if nearest else 2,
                1: f"{height:.1f}",
                2: f"{width:.1f}",
                6: int(stage.get("corners") == "aligned"),
            },
        )

    def stage(self, stage):
        kind, channels = stage["kind"], stage["output"]["channels"]
        simple = {"relu": "ReLU", "tanh": "TanH", "sigmoid": "Sigmoid", "silu": "Swish", "gelu": "GELU"}
        if kind in ("nearest_upsample", "bilinear_upsample"):
            self.resize(stage)
        elif kind == "pixel_shuffle":
            refuse_unless(len(stage["input"]["spatial"]) == 2, "ncnn shuffles images only")
            self.layer("PixelShuffle", {0: stage["factor"], 1: int(stage["order"] == "dcr")})
        elif kind == "bias":
            self.layer("Bias", {0: channels})
            self.numbers(self.tensors.bias)
        elif kind == "scale":
            self.layer("Scale", {0: channels, 1: 0})
            self.numbers(self.tensors.scale)
        elif kind == "prelu":
            self.layer("PReLU", {0: channels})
            self.numbers(self.tensors.prelu)
        elif kind == "add":
            self.layer("BinaryOp", {0: 0}, ["add"])
        elif kind == "leaky_relu":
            self.layer("ReLU", {0: f"{stage['a']:e}"})
        elif kind == "clamp":
            self.layer("Clip", {0: f"{stage['a']:e}", 1: f"{stage['b']:e}"})
        elif kind in simple:
            self.layer(simple[kind], {0: 0} if kind == "gelu" else None)
        else:
            raise Unsupported(f"{kind} has no ncnn layer here")


class Ncnn:
    name = "ncnn"
    version = ncnn.__version__
    variants = [""]
    library = next(iter(glob.glob(os.path.join(os.path.dirname(ncnn.__file__), "ncnn*.so"))), None)

    def load(self, problem, form, variant, threads):
        refuse_unless(problem["input"]["batch"] == 1, "ncnn computes one image at a time")
        self.tensors = Tensors(problem, form, "nchw")
        writer = NetworkWriter(self.tensors)
        stages, number = self.tensors.computed, 0
        while number < len(stages):
            bias = number + 1 < len(stages) and stages[number + 1]["kind"] == "bias"
            if stages[number]["kind"] in ("conv", "transposed_conv"):
                writer.convolution(stages[number], bias)
                number += 1 if bias else 0
            else:
                writer.stage(stages[number])
            number += 1
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_vulkan_compute = options.use_fp16_packed = options.use_fp16_storage = False
        options.use_fp16_arithmetic = options.use_bf16_storage = False
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (("net.param", writer.text().encode()), ("net.bin", writer.weights)):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(content)
            refuse_unless(
                self.net.load_param(os.path.join(folder, "net.param")) == 0, "ncnn refuses the network"
            )
            refuse_unless(
                self.net.load_model(os.path.join(folder, "net.bin")) == 0, "ncnn refuses the weights"
            )
        self.input = ncnn.Mat(self.tensors.input[0]).clone()
        self.add = None if self.tensors.add is None else ncnn.Mat(self.tensors.add[0]).clone()
        self.last = writer.blobs[-1]
        return ", ".join(kind for kind, *_ in writer.layers if kind != "Input")

    def run(self):
        extractor = self.net.create_extractor()
        extractor.input("input", self.input)
        if self.add is not None:
            extractor.input("add", self.add)
        code, self.result = extractor.extract(self.last)
        if code != 0:
            raise RuntimeError(f"extract answered {code}")

    def output(self):
        return self.tensors.result(numpy.array(self.result)[None])


if __name__ == "__main__":
    serve(Ncnn)
