"""LiteRT (TensorFlow Lite) with XNNPACK, on models that are written here with the wheel's own schema.

Its transposed convolution pads as "same" or not at all. Where a layer asks for other padding the whole output
is computed, and taking its window costs nothing."""

import glob
import os

import ai_edge_litert
import flatbuffers
import numpy
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from protocol import Unsupported, serve
from tensors import Tensors, refuse_unless

try:
    from importlib.metadata import version as version_of

    VERSION = version_of("ai-edge-litert")
except Exception:  # a build without metadata
    VERSION = ""

POINTWISE = {"bias", "scale", "prelu", "relu", "leaky_relu", "clamp", "tanh", "sigmoid", "silu", "gelu"}


class ModelWriter:
    """A chain of operators on tensors of (batch, height, width, channels)."""

    def __init__(self):
        self.tensors, self.buffers, self.codes, self.operators, self.inputs = (
            [],
            [schema.BufferT()],
            {},
            [],
            [],
        )

    def tensor(self, shape, kind=schema.TensorType.FLOAT32, data=None):
        tensor = schema.TensorT()
        tensor.shape = [int(size) for size in shape]
        tensor.type = kind
        tensor.name = f"t{len(self.tensors)}"
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = numpy.frombuffer(numpy.ascontiguousarray(data).tobytes(), numpy.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def input(self, shape):
        self.inputs.append(self.tensor(shape))
        return self.inputs[-1]

    def constant(self, array):
        kind = schema.TensorType.INT32 if array.dtype == numpy.int32 else schema.TensorType.FLOAT32
        return self.tensor(array.shape, kind, array)

    def operator(self, name, inputs, shape, options=None, version=1):
        code = getattr(schema.BuiltinOperator, name)
        key = (code, version)
        self.codes.setdefault(key, len(self.codes))
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes[key]
        operator.inputs = list(inputs)
        operator.outputs = [self.tensor(shape)]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.operators.append(operator)
        return operator.outputs[0]

    def finish(self, output):
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs, graph.name = self.inputs, [output], "layer"
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], self.buffers, []
        for code, version in self.codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.version = code, version
            entry.deprecatedBuiltinCode = min(code, 127)
            model.operatorCodes.append(entry)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class LayerModel:
    """A form of a layer as a model, and the window of its output that is the result."""

    def __init__(self, tensors):
        self.tensors, self.writer = tensors, ModelWriter()
        self.shape = self.image(tensors.problem["input"])
        self.value = self.writer.input(self.shape)
        self.window = None  # begin of the result in the output, where that is larger
        self.order = None  # of output channels, for the other order of pixel_shuffle
        stages, number = tensors.computed, 0
        while number < len(stages):
            number = self.add(stages, number)
        self.model = self.writer.finish(self.value)

    @staticmethod
    def image(shape):
        refuse_unless(len(shape["spatial"]) < 3, "no transposed convolution of volumes in XNNPACK")
        return [shape["batch"], *([1] + shape["spatial"])[-2:], shape["channels"]]

    @staticmethod
    def pair(values, fill):
        return ([fill] + values)[-2:]

    def apply(self, name, more, shape, options=None, version=1):
        self.value = self.writer.operator(name, [self.value, *more], shape, options, version)
        self.shape = shape

    def vector(self, values):
        """A number a channel, in the order that the channels have."""
        return self.writer.constant(values if self.order is None else values[self.order])

    def add(self, stages, number):
        """Adds a stage and a bias behind it; answers the number of the next."""
        stage = stages[number]
        if stage["kind"] not in ("conv", "transposed_conv"):
            self.add_other(stage)
            return number + 1
        bias = number + 1 < len(stages) and stages[number + 1]["kind"] == "bias"
        later = [other["kind"] for other in stages[number + 1 :]]
        refuse_unless(stage["groups"] == 1, "no groups in LiteRT's convolutions")
        refuse_unless(set(stage["dilation"]) == {1}, "no dilation in LiteRT's transposed convolution")
        shuffle = next((other for other in stages[number + 1 :] if other["kind"] not in POINTWISE), None)
        if shuffle and shuffle["kind"] == "pixel_shuffle" and shuffle["order"] == "crd":
            block = shuffle["factor"] ** 2
            channels = stage["output_channels"]
            self.order = numpy.arange(channels).reshape(channels // block, block).T.reshape(-1)
        if stage["kind"] == "conv":
            self.convolution(stage, bias)
        else:
            self.transposed(stage, bias, later)
        return number + (2 if bias else 1)

    def weights(self, stage):
        """(output channels, kernel height, kernel width, input channels)"""
        array = self.tensors.weights
        if stage["kind"] == "transposed_conv":
            array = array.swapaxes(0, 1)
        if array.ndim == 3:
            array = array[:, :, None, :]
        array = array.transpose(0, 2, 3, 1)
        return array if self.order is None else array[self.order]

    def bias(self, stage, present):
        zeros = numpy.zeros(stage["output_channels"], numpy.float32)
        return self.vector(self.tensors.bias) if present else self.writer.constant(zeros)

    def convolution(self, stage, bias):
        total = [kernel - 1 for kernel in stage["kernel"]]
        same = (
            set(stage["stride"]) == {1}
            and stage["pad_begin"] == [size // 2 for size in total]
            and stage["pad_end"] == [size - size // 2 for size in total]
        )
        plain = not any(stage["pad_begin"] + stage["pad_end"])
        refuse_unless(same or plain, "LiteRT pads convolutions as 'same' or not at all")
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.VALID if plain else schema.Padding.SAME
        options.strideH, options.strideW = self.pair(stage["stride"], 1)
        options.dilationHFactor = options.dilationWFactor = 1
        more = [self.writer.constant(self.weights(stage)), self.bias(stage, bias)]
        self.apply("CONV_2D", more, self.image(stage["output"]), options)

    def transposed(self, stage, bias, later):
        kernel, stride = stage["kernel"], stage["stride"]
        size, inside = stage["output"]["spatial"], stage["input"]["spatial"]
        total = [max(k - s, 0) for k, s in zip(kernel, stride)]
        same = size == [s * n for s, n in zip(stride, inside)] and stage["pad_begin"] == [
            pad // 2 for pad in total
        ]
        full = [s * (n - 1) + k for s, n, k in zip(stride, inside, kernel)]
        shape = self.image(stage["output"])
        if not same and full != size:
            ends = [first + count for first, count in zip(stage["pad_begin"], size)]
            refuse_unless(all(end <= most for end, most in zip(ends, full)), "no output padding in LiteRT")
            refuse_unless(POINTWISE.issuperset(later), "LiteRT has no such padding before further stages")
            self.window = stage["pad_begin"]
            shape = self.image({**stage["output"], "spatial": full})
        options = schema.TransposeConvOptionsT()
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.strideH, options.strideW = self.pair(stride, 1)
        inputs = [
            self.writer.constant(numpy.array(shape, numpy.int32)),
            self.writer.constant(self.weights(stage)),
            self.value,
            self.bias(stage, bias),
        ]
        self.value = self.writer.operator("TRANSPOSE_CONV", inputs, shape, options, version=3)
        self.shape = shape

    def add_other(self, stage):
        kind, constant = stage["kind"], self.writer.constant
        simple = {"relu": "RELU", "tanh": "TANH", "sigmoid": "LOGISTIC"}
        if kind in simple:
            self.apply(simple[kind], [], self.shape)
        elif kind == "leaky_relu":
            options = schema.LeakyReluOptionsT()
            options.alpha = stage["a"]
            self.apply("LEAKY_RELU", [], self.shape, options)
        elif kind == "gelu":
            self.apply("GELU", [], self.shape, schema.GeluOptionsT())
        elif kind == "silu":
            before = self.value
            self.apply("LOGISTIC", [], self.shape)
            self.apply("MUL", [before], self.shape, schema.MulOptionsT())
        elif kind == "clamp":
            for name, bound in (("MAXIMUM", stage["a"]), ("MINIMUM", stage["b"])):
                self.apply(
                    name,
                    [constant(numpy.array([bound], numpy.float32))],
                    self.shape,
                    schema.MaximumMinimumOptionsT(),
                )
        elif kind == "bias":
            self.apply("ADD", [self.vector(self.tensors.bias)], self.shape, schema.AddOptionsT())
        elif kind == "scale":
            self.apply("MUL", [self.vector(self.tensors.scale)], self.shape, schema.MulOptionsT())
        elif kind == "prelu":
            slopes = self.tensors.prelu if self.order is None else self.tensors.prelu[self.order]
            self.apply("PRELU", [constant(slopes.reshape(1, 1, -1))], self.shape)
        elif kind == "add":
            self.apply("ADD", [self.writer.input(self.shape)], self.shape, schema.AddOptionsT())
        elif kind in ("nearest_upsample", "bilinear_upsample"):
            self.resize(stage)
        elif kind == "pixel_shuffle":
            refuse_unless(len(stage["input"]["spatial"]) == 2, "LiteRT shuffles images only")
            refuse_unless(
                stage["order"] == "dcr" or self.order is not None,
                "LiteRT has one order of channels only, and no convolution before could change it",
            )
            options = schema.DepthToSpaceOptionsT()
            options.blockSize = stage["factor"]
            self.apply("DEPTH_TO_SPACE", [], self.image(stage["output"]), options)
            self.order = None
        else:
            raise Unsupported(f"{kind} has no LiteRT operator here")

    def resize(self, stage):
        shape = self.image(stage["output"])
        size = self.writer.constant(numpy.array(shape[1:3], numpy.int32))
        if stage["kind"] == "nearest_upsample":
            self.apply("RESIZE_NEAREST_NEIGHBOR", [size], shape, schema.ResizeNearestNeighborOptionsT())
            return
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners = stage["corners"] == "aligned"
        options.halfPixelCenters = not options.alignCorners
        self.apply("RESIZE_BILINEAR", [size], shape, options, version=3)


class LiteRt:
    name = "litert"
    version = VERSION
    variants = [""]
    library = next(
        iter(glob.glob(os.path.join(os.path.dirname(ai_edge_litert.__file__), "libpywrap_litert_common.so"))),
        None,
    )

    def load(self, problem, form, variant, threads):
        self.tensors = Tensors(problem, form, "nhwc")
        self.layer = LayerModel(self.tensors)
        self.interpreter = litert.Interpreter(model_content=self.layer.model, num_threads=threads)
        self.interpreter.allocate_tensors()
        inputs = [self.tensors.input] + ([self.tensors.add] if self.tensors.add is not None else [])
        for details, array in zip(self.interpreter.get_input_details(), inputs):
            self.interpreter.set_tensor(details["index"], array.reshape(details["shape"]))
        self.run = self.interpreter.invoke
        return self.kernels()

    def kernels(self):
        """Whose kernels run. The interpreter lists what it handed to XNNPACK as further operators, DELEGATE each."""
        try:
            operators = self.interpreter._get_ops_details()
        except AttributeError:  # a version that does not tell
            return "XNNPACK by default"
        delegates = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
        if not delegates:
            return "built-in kernels"
        read, written = ({int(t) for d in delegates for t in d[side]} for side in ("inputs", "outputs"))
        whole = all(details["index"] in read for details in self.interpreter.get_input_details()) and all(
            details["index"] in written for details in self.interpreter.get_output_details()
        )
        return "XNNPACK" if whole and len(delegates) == 1 else "XNNPACK and built-in kernels"

    def output(self):
        result = self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])
        shape = self.tensors.output_shape
        if len(shape["spatial"]) == 1:
            result = result[:, 0]
        if self.layer.window:
            for axis, (begin, size) in enumerate(zip(self.layer.window, shape["spatial"])):
                result = result.take(range(begin, begin + size), axis=1 + axis)
        return self.tensors.result(result)


if __name__ == "__main__":
    serve(LiteRt)
