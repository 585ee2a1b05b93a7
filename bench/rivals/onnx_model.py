"""A form of a layer as an ONNX model of standard operators, channels first."""

import numpy
from onnx import TensorProto, checker, helper, numpy_helper

from protocol import Unsupported
from tensors import refuse_unless, sizes

OPSET = 20
IR_VERSION = 10


class ModelBuilder:
    def __init__(self, tensors):
        self.tensors = tensors
        self.nodes, self.constants = [], []
        self.value = "input"

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(numpy.ascontiguousarray(array), name))
        return name

    def node(self, operator, *more, **attributes):
        """An operator on the value at hand, whose result becomes that."""
        result = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.value, *more], [result], **attributes))
        self.value = result

    def convolution(self, stage, bias):
        attributes = {
            "kernel_shape": stage["kernel"],
            "strides": stage["stride"],
            "dilations": stage["dilation"],
            "group": stage["groups"],
            "pads": stage["pad_begin"] + stage["pad_end"],
        }
        refuse_unless(min(attributes["pads"]) >= 0, "ONNX has no negative padding")
        inputs = [self.constant("weights", self.tensors.weights)]
        if bias:
            inputs.append(self.constant("bias", self.tensors.bias))
        if stage["kind"] == "transposed_conv":
            if any(stage["output_pad"]):
                attributes["output_padding"] = stage["output_pad"]
            self.node("ConvTranspose", *inputs, **attributes)
        else:
            self.node("Conv", *inputs, **attributes)

    def resize(self, stage):
        scales = numpy.array([1, 1, *stage["factor"]], numpy.float32)
        names = ["", self.constant("scales", scales)]
        if stage["kind"] == "nearest_upsample":
            self.node(
                "Resize",
                *names,
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        else:
            corners = "align_corners" if stage["corners"] == "aligned" else "half_pixel"
            self.node("Resize", *names, mode="linear", coordinate_transformation_mode=corners)

    def shuffle(self, stage):
        refuse_unless(len(stage["input"]["spatial"]) == 2, "ONNX shuffles pixels in two dimensions only")
        if stage["kind"] == "pixel_shuffle":
            self.node("DepthToSpace", blocksize=stage["factor"], mode=stage["order"].upper())
        else:
            refuse_unless(stage["order"] == "dcr", "SpaceToDepth has one order of channels only")
            self.node("SpaceToDepth", blocksize=stage["factor"])

    def crop(self, stage):
        begin = numpy.array(stage["from"], numpy.int64)
        end = begin + numpy.array(stage["size"], numpy.int64)
        axes = numpy.arange(2, 2 + len(begin), dtype=numpy.int64)
        self.node(
            "Slice", self.constant("begin", begin), self.constant("end", end), self.constant("axes", axes)
        )

    def channelwise(self, operator, name, values, rank):
        shape = [1, values.size] + [1] * (rank - 2)
        self.node(operator, self.constant(name, values.reshape(shape)))

    def activation(self, stage, number):
        kind = stage["kind"]
        if kind == "leaky_relu":
            self.node("LeakyRelu", alpha=stage["a"])
        elif kind == "clamp":
            bounds = [self.constant(f"{end}{number}", numpy.float32(stage[end])) for end in ("a", "b")]
            self.node("Clip", *bounds)
        elif kind == "silu":
            before = self.value
            self.node("Sigmoid")
            self.node("Mul", before)
        else:
            self.node({"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "Gelu"}[kind])

    def stage(self, number):
        """Adds a stage; how many more it took with it."""
        stages, tensors = self.tensors.computed, self.tensors
        stage = stages[number]
        kind = stage["kind"]
        rank = 2 + len(stage["output"]["spatial"])
        if kind in ("conv", "transposed_conv"):
            bias = number + 1 < len(stages) and stages[number + 1]["kind"] == "bias"
            self.convolution(stage, bias)
            return 1 if bias else 0
        if kind in ("nearest_upsample", "bilinear_upsample"):
            self.resize(stage)
        elif kind in ("pixel_shuffle", "pixel_unshuffle"):
            self.shuffle(stage)
        elif kind == "crop":
            self.crop(stage)
        elif kind == "bias":
            self.channelwise("Add", "bias", tensors.bias, rank)
        elif kind == "scale":
            self.channelwise("Mul", "scale", tensors.scale, rank)
        elif kind == "prelu":
            self.node("PRelu", self.constant("prelu", tensors.prelu.reshape([-1] + [1] * (rank - 2))))
        elif kind == "add":
            self.node("Add", "add")
        elif "a" in stage:
            self.activation(stage, number)
        else:
            raise Unsupported(f"{kind} has no ONNX operator here")
        return 0


def onnx_model(tensors):
    """The model with inputs "input" and, where the layer adds, "add", and the output "output"."""
    builder = ModelBuilder(tensors)
    number = 0
    while number < len(tensors.computed):
        number += 1 + builder.stage(number)
    if not builder.nodes:
        raise Unsupported("nothing is computed")
    builder.nodes[-1].output[0] = "output"

    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes(shape, "nchw"))

    inputs = [info("input", tensors.problem["input"])]
    for stage in tensors.computed:
        if stage["kind"] == "add":
            inputs.append(info("add", stage["output"]))
    graph = helper.make_graph(
        builder.nodes, "layer", inputs, [info("output", tensors.output_shape)], builder.constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return model.SerializeToString()
