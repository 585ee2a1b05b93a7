"""ONNX Runtime on its CPU provider, tensors bound once."""

import glob
import os

import numpy
import onnxruntime

from onnx_model import onnx_model
from protocol import serve
from tensors import Tensors


class OnnxRuntime:
    name = "onnxruntime"
    version = onnxruntime.__version__
    variants = [""]
    library = next(
        iter(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "*pybind11*.so"))), None
    )

    def load(self, problem, form, variant, threads):
        self.tensors = Tensors(problem, form, "nchw")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            onnx_model(self.tensors), options, providers=["CPUExecutionProvider"]
        )
        self.result = self.tensors.empty_output()
        self.binding = self.session.io_binding()
        for name, array in (("input", self.tensors.input), ("add", self.tensors.add)):
            if array is not None:
                self.bind(self.binding.bind_input, name, array)
        self.bind(self.binding.bind_output, "output", self.result)
        self.run = lambda: self.session.run_with_iobinding(self.binding)
        return ""

    @staticmethod
    def bind(function, name, array):
        function(name, "cpu", 0, numpy.float32, array.shape, array.ctypes.data)

    def output(self):
        return self.tensors.result(self.result)


if __name__ == "__main__":
    serve(OnnxRuntime)
