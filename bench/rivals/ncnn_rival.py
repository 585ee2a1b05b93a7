"""ncnn in f32 from Python, by a network text and weights of its own.

Tensors come packed as the first layer takes them and stay packed as the last one leaves them; the memory of blobs
is kept from call to call. An activation behind a convolution is part of it, as ncnn's converters make it.
"""

import glob
import os
import tempfile

import ncnn
import numpy

from protocol import Unsupported, serve
from tensors import Tensors, refuse_unless

# Beyond the life of every net and result: a pool must be empty when it ends. Blobs are allocated by one thread.
BLOBS, WORKSPACE = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
PACKED = 1  # of `extract`: the result as it is

# What a convolution does itself: its number in ncnn, and what is told of it.
ACTIVATIONS = {"relu": (1, ()), "leaky_relu": (2, ("a",)), "clamp": (3, ("a", "b")), "sigmoid": (4, ())}


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

    def convolution(self, stage, bias, activation):
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
        if activation:
            kind, names = ACTIVATIONS[activation["kind"]]
            numbers = [f"{activation[name]:e}" for name in names]
            parameters.update({9: kind, -23310: ",".join([str(len(numbers)), *numbers])})
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
        height, width = stage["output"]["spatial"]
        aligned = int(stage.get("corners") == "aligned")
        self.layer("Interp", {0: 1 if nearest else 2, 3: height, 4: width, 6: aligned})

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


def net_of(threads):
    net = ncnn.Net()
    options = net.opt
    options.num_threads = threads
    options.use_vulkan_compute = options.use_fp16_packed = options.use_fp16_storage = False
    options.use_fp16_arithmetic = options.use_bf16_storage = False
    options.blob_allocator, options.workspace_allocator = BLOBS, WORKSPACE
    return net


def packing_of(channels, threads):
    """How many of so many channels ncnn puts side by side on this machine: what it does to hand them to a layer."""
    net = net_of(threads)
    net.load_param_mem("7767517\n2 2\nInput in 0 1 in\nReLU out 1 1 in out\n")
    extractor = net.create_extractor()
    extractor.input("in", ncnn.Mat(numpy.zeros([channels, 1, 1], numpy.float32)).clone())
    code, result = extractor.extract("out", PACKED)
    if code != 0:
        raise RuntimeError(f"extract answered {code}")
    return result.elempack


class Ncnn:
    name = "ncnn"
    version = ncnn.__version__
    variants = [""]
    library = next(iter(glob.glob(os.path.join(os.path.dirname(ncnn.__file__), "ncnn*.so"))), None)

    def load(self, problem, form, variant, threads):
        refuse_unless(problem["input"]["batch"] == 1, "ncnn computes one image at a time")
        self.tensors = Tensors(problem, form, "nchw")
        writer = self.network()
        self.net = net_of(threads)
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
        self.threads = threads
        self.input = self.packed("input", self.tensors.input)
        self.add = None if self.tensors.add is None else self.packed("add", self.tensors.add)
        self.last, self.result = writer.blobs[-1], None
        return ", ".join(kind for kind, *_ in writer.layers if kind != "Input")

    def network(self):
        writer, stages, number = NetworkWriter(self.tensors), self.tensors.computed, 0
        while number < len(stages):
            stage, number = stages[number], number + 1
            if stage["kind"] not in ("conv", "transposed_conv"):
                writer.stage(stage)
                continue
            bias = number < len(stages) and stages[number]["kind"] == "bias"
            number += bias
            activated = number < len(stages) and stages[number]["kind"] in ACTIVATIONS
            writer.convolution(stage, bias, stages[number] if activated else None)
            number += activated
        return writer

    def packed(self, blob, array):
        """A tensor as the layer that reads it would have it handed."""
        mat = ncnn.Mat(array[0]).clone()
        number = self.net.blobs()[self.net.input_indexes()[self.net.input_names().index(blob)]].consumer
        if not self.net.layers()[number].support_packing:
            return mat
        packing = packing_of(array.shape[1], self.threads)
        return ncnn.convert_packing(mat, packing) if packing > 1 else mat

    def run(self):
        self.result = None  # its memory is for the next
        extractor = self.net.create_extractor()
        extractor.input("input", self.input)
        if self.add is not None:
            extractor.input("add", self.add)
        code, self.result = extractor.extract(self.last, PACKED)
        if code != 0:
            raise RuntimeError(f"extract answered {code}")

    def output(self):
        plain = ncnn.convert_packing(self.result, 1)
        return self.tensors.result(numpy.array(plain)[None])


if __name__ == "__main__":
    serve(Ncnn)
