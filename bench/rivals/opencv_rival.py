"""OpenCV's resize, for layers that only resize."""

import os

import cv2

from protocol import serve
from tensors import Tensors, refuse_unless

MOST_CHANNELS = 512  # of an image


class OpenCv:
    name = "opencv"
    version = cv2.__version__
    variants = [""]
    library = os.path.join(os.path.dirname(cv2.__file__), "cv2.abi3.so")

    def load(self, problem, form, variant, threads):
        self.tensors = Tensors(problem, form, "nhwc")
        stages = self.tensors.computed
        kind = stages[0]["kind"] if len(stages) == 1 else ""
        refuse_unless(kind in ("nearest_upsample", "bilinear_upsample"), "OpenCV only resizes")
        refuse_unless(stages[0].get("corners", "half_pixel") == "half_pixel", "OpenCV does not align corners")
        shape = problem["input"]
        refuse_unless(
            shape["batch"] == 1 and len(shape["spatial"]) == 2, "OpenCV resizes one image at a time"
        )
        refuse_unless(
            shape["channels"] <= MOST_CHANNELS, f"OpenCV images have at most {MOST_CHANNELS} channels"
        )
        cv2.setNumThreads(threads)
        source = self.tensors.input[0]
        self.result = self.tensors.empty_output()
        target = self.result[0]
        height, width = target.shape[:2]
        mode = cv2.INTER_NEAREST if kind == "nearest_upsample" else cv2.INTER_LINEAR
        self.run = lambda: cv2.resize(source, (width, height), target, 0, 0, mode)
        return "INTER_NEAREST" if mode == cv2.INTER_NEAREST else "INTER_LINEAR"

    def output(self):
        return self.tensors.result(self.result)


if __name__ == "__main__":
    serve(OpenCv)
