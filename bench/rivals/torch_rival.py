"""PyTorch in inference mode, on channels-first and channels-last tensors: its functions one by one, and the same
as a frozen TorchScript module, which may prepare its weights beforehand."""

import glob
import os

import torch
import torch.nn.functional as functional

from protocol import Unsupported, serve
from tensors import Tensors, refuse_unless

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
PROFILED_CALLS = 3  # after which TorchScript no longer compiles


class Layer(torch.nn.Module):
    """Functions one after the other, None for the sum with the second input."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, value, other=None):
        for step in self.steps:
            value = torch.add(value, other) if step is None else step(value)
        return value


class Torch:
    name = "torch"
    version = torch.__version__
    variants = ["nchw", "nhwc", "frozen nchw", "frozen nhwc"]
    library = next(
        iter(glob.glob(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))), None
    )

    def load(self, problem, form, variant, threads):
        torch.set_num_threads(threads)
        self.tensors = Tensors(problem, form, "nchw")
        self.last = variant.endswith("nhwc")
        refuse_unless(
            not self.last or self.tensors.input.ndim in CHANNELS_LAST,
            "PyTorch has channels last for two and three dimensions only",
        )
        inputs = [
            self.arranged(array) for array in (self.tensors.input, self.tensors.add) if array is not None
        ]
        layer = Layer(self.steps()).eval()
        if variant.startswith("frozen"):
            layer = self.frozen(layer, inputs)

        def run():
            with torch.inference_mode():
                self.result = layer(*inputs)

        self.run = run
        return "TorchScript" if variant.startswith("frozen") else "eager"

    @staticmethod
    def frozen(layer, inputs):
        with torch.no_grad():
            traced = torch.jit.trace(layer, tuple(inputs), check_trace=False)
            layer = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        with torch.inference_mode():
            for _ in range(PROFILED_CALLS):
                layer(*inputs)
        return layer

    def arranged(self, array):
        tensor = torch.from_numpy(array)
        return tensor.contiguous(memory_format=CHANNELS_LAST[tensor.ndim]) if self.last else tensor

    def steps(self):
        stages, steps, number = self.tensors.computed, [], 0
        while number < len(stages):
            bias = number + 1 < len(stages) and stages[number + 1]["kind"] == "bias"
            if stages[number]["kind"] in ("conv", "transposed_conv"):
                steps.append(self.convolution(stages[number], self.tensors.bias if bias else None))
                number += 1 if bias else 0
            else:
                steps.append(self.step(stages[number]))
            number += 1
        return steps

    def convolution(self, stage, bias):
        begin, end = stage["pad_begin"], stage["pad_end"]
        axes = len(begin)
        weights = self.arranged(self.tensors.weights)
        if bias is not None:
            bias = torch.from_numpy(bias)
        more = {"stride": stage["stride"], "dilation": stage["dilation"], "groups": stage["groups"]}
        if stage["kind"] == "conv":
            refuse_unless(begin == end, "PyTorch pads both sides alike")
            function = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
            return lambda x: function(x, weights, bias, padding=begin, **more)
        function = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[
            axes - 1
        ]
        # out = ... - 2 * begin + output_padding
        beyond = [extra + first - last for extra, first, last in zip(stage["output_pad"], begin, end)]
        refuse_unless(min(beyond) >= 0, "PyTorch pads both sides alike")
        return lambda x: function(x, weights, bias, padding=begin, output_padding=beyond, **more)

    def step(self, stage):
        kind = stage["kind"]
        rank = 2 + len(stage["output"]["spatial"])
        if kind in ("bias", "scale"):
            values = torch.from_numpy(getattr(self.tensors, kind)).reshape([1, -1] + [1] * (rank - 2))
            return (lambda x: x + values) if kind == "bias" else (lambda x: x * values)
        if kind == "add":
            return None
        if kind == "prelu":
            slopes = torch.from_numpy(self.tensors.prelu)
            return lambda x: functional.prelu(x, slopes)
        if kind in ("nearest_upsample", "bilinear_upsample"):
            refuse_unless(kind == "nearest_upsample" or rank < 5, "bilinear in three dimensions is trilinear")
            mode = "nearest" if kind == "nearest_upsample" else ("linear" if rank == 3 else "bilinear")
            size = stage["output"]["spatial"]
            corners = None if mode == "nearest" else stage["corners"] == "aligned"
            return lambda x: functional.interpolate(x, size, mode=mode, align_corners=corners)
        if kind in ("pixel_shuffle", "pixel_unshuffle"):
            refuse_unless(
                rank == 4 and stage["order"] == "crd", "PyTorch shuffles images in its own order only"
            )
            function = functional.pixel_shuffle if kind == "pixel_shuffle" else functional.pixel_unshuffle
            return lambda x: function(x, stage["factor"])
        if kind == "crop":
            window = (
                slice(None),
                slice(None),
                *(slice(begin, begin + size) for begin, size in zip(stage["from"], stage["size"])),
            )
            return lambda x: x[window]
        if kind == "leaky_relu":
            return lambda x: functional.leaky_relu(x, stage["a"])
        if kind == "clamp":
            return lambda x: torch.clamp(x, stage["a"], stage["b"])
        simple = {
            "relu": torch.relu,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "silu": functional.silu,
            "gelu": functional.gelu,
        }
        if kind not in simple:
            raise Unsupported(f"{kind} has no function here")
        return simple[kind]

    def output(self):
        return self.tensors.result(self.result.numpy())


if __name__ == "__main__":
    serve(Torch)
