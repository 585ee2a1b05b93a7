"""What a layer's text says of its shape, and the classes of layers that means are taken over."""

import re

STAGE = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*$")
CONVOLUTIONS = ("conv", "transposed_conv")


def stages_of(text):
    """[(name, positional arguments, {key: argument})] of a chain as the compiler prints it."""
    stages = []
    for part in text.split("|"):
        name, arguments = STAGE.match(part).groups()
        positional, named = [], {}
        for argument in filter(None, map(str.strip, (arguments or "").split(","))):
            key, equals, value = argument.partition("=")
            if equals:
                named[key.strip()] = value.strip()
            else:
                positional.append(argument)
        stages.append((name, positional, named))
    return stages


class LayerText:
    """The few facts that classes are made of."""

    def __init__(self, text):
        (_, arguments, named), *stages = stages_of(text)
        sizes = [int(size) for size in arguments[1].split("x")]
        self.batch, self.axes = sizes[0], len(sizes) - 2
        self.channels = sizes[1] if named.get("layout") == "nchw" else sizes[-1]
        self.names = [name for name, _, _ in stages]
        convolution = next((stage for stage in stages if stage[0] in CONVOLUTIONS), None)
        self.transposed = convolution is not None and convolution[0] == "transposed_conv"
        arguments, named = convolution[1:] if convolution else ([], {})
        self.output_channels = int(arguments[0]) if arguments else self.channels
        self.groups = int(named.get("groups", 1))
        self.bilinear = named.get("weights") == "bilinear"
        self.kernel = [int(size) for size in named.get("kernel", "1").split("x")]

    def follows(self, first, second):
        return (first, second) in zip(self.names, self.names[1:]) or (
            first in self.names and second in self.names[self.names.index(first) :]
        )

    @property
    def dense(self):
        """A transposed convolution that sums over all channels with learned weights."""
        return self.transposed and self.groups == 1 and not self.bilinear


# The narrowest first: a layer may belong to several, and is named by the first. The inverse Fourier transform
# has the real and imaginary parts of kernel / 2 + 1 frequencies as channels.
CLASSES = {
    "ISTFT": lambda it: it.dense and it.axes == 1 and it.channels == it.kernel[0] + 2,
    "FCN bilinear": lambda it: it.transposed and it.bilinear and it.groups == 1,
    "depthwise": lambda it: it.transposed and it.groups > 1 and it.groups == it.channels,
    "nearest + conv": lambda it: it.follows("nearest_upsample", "conv"),
    "conv + shuffle": lambda it: it.follows("conv", "pixel_shuffle"),
    "batch of 32 and more": lambda it: it.dense and it.batch >= 32,
    "1-D": lambda it: it.transposed and it.axes == 1,
    "3-D": lambda it: it.transposed and it.axes == 3,
    "1–4 output channels": lambda it: it.dense and it.output_channels <= 4,
    "dense, 64 and more output channels": lambda it: it.dense and it.output_channels >= 64,
}
OTHERS = "other"


def classes_of(text):
    """The names of a layer's classes, the narrowest first; never empty."""
    layer = LayerText(text)
    return [name for name, belongs in CLASSES.items() if belongs(layer)] or [OTHERS]
