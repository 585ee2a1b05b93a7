"""A problem's files as NumPy arrays, in the order of channels-first frameworks or channels last."""

import numpy

from protocol import Unsupported


def sizes(shape, layout):
    """The sizes of {"batch","spatial","channels"} in a layout's order."""
    if layout == "nchw":
        return [shape["batch"], shape["channels"], *shape["spatial"]]
    return [shape["batch"], *shape["spatial"], shape["channels"]]


def moved(array, source, target):
    """A dense copy in the other layout."""
    if source != target:
        array = numpy.moveaxis(array, -1, 1) if target == "nchw" else numpy.moveaxis(array, 1, -1)
    return numpy.ascontiguousarray(array)


class Tensors:
    """What a form of a layer computes from. `input` and `add` are in `layout`."""

    def __init__(self, problem, form, layout):
        self.problem, self.form, self.layout = problem, form, layout
        files = problem["files"]
        self.stages = form["stages"]
        self.input = self._tensor(files["input"], problem["input"])
        self.bias, self.scale, self.prelu = (
            numpy.fromfile(files[name], numpy.float32) if name in files else None
            for name in ("bias", "scale", "prelu")
        )
        self.add = None
        self.weights = None
        for stage in self.stages:
            if stage["kind"] == "add":
                self.add = self._tensor(files["add"], stage["output"])
            if stage["kind"] in ("conv", "transposed_conv"):
                self.weights = self._weights(stage)
        # A crop at the end is a view of the output and costs nothing.
        self.crop = self.stages[-1] if self.stages[-1]["kind"] == "crop" else None
        self.computed = self.stages[:-1] if self.crop else self.stages
        self.output_shape = self.computed[-1]["output"] if self.computed else problem["input"]

    def _tensor(self, path, shape):
        own = self.problem["layout"]
        return moved(numpy.fromfile(path, numpy.float32).reshape(sizes(shape, own)), own, self.layout)

    def _weights(self, stage):
        per_group = stage["groups"]
        ci, co = stage["input"]["channels"], stage["output_channels"]
        first = [co, ci // per_group] if stage["kind"] == "conv" else [ci, co // per_group]
        return numpy.fromfile(self.form["weights"], numpy.float32).reshape(first + stage["kernel"])

    def empty_output(self):
        return numpy.full(sizes(self.output_shape, self.layout), numpy.nan, numpy.float32)

    def result(self, output):
        """The bytes that are checked, from an output in `layout`."""
        output = numpy.asarray(output, numpy.float32)
        if self.crop:
            axes = range(2, output.ndim) if self.layout == "nchw" else range(1, output.ndim - 1)
            window = [slice(None)] * output.ndim
            for axis, begin, size in zip(axes, self.crop["from"], self.crop["size"]):
                window[axis] = slice(begin, begin + size)
            output = output[tuple(window)]
        return moved(output, self.layout, self.problem["layout"]).tobytes()


def refuse_unless(condition, reason):
    if not condition:
        raise Unsupported(reason)
