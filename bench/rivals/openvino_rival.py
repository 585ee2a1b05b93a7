"""OpenVINO's CPU plugin in f32, with tensors of either layout that the network reads and writes in place."""

import glob
import os

import openvino

from onnx_model import onnx_model
from protocol import serve
from tensors import Tensors


class OpenVino:
    name = "openvino"
    version = openvino.__version__
    variants = ["nchw", "nhwc"]
    library = next(
        iter(glob.glob(os.path.join(os.path.dirname(openvino.__file__), "libs", "libopenvino_intel_cpu*"))),
        None,
    )

    def load(self, problem, form, variant, threads):
        self.tensors = Tensors(problem, form, variant)
        core = openvino.Core()
        model = core.read_model(onnx_model(Tensors(problem, form, "nchw")), b"")
        if variant == "nhwc":
            model = self.with_channels_last(model)
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )
        self.request = compiled.create_infer_request()
        self.request.set_tensor("input", openvino.Tensor(self.tensors.input, shared_memory=True))
        if self.tensors.add is not None:
            self.request.set_tensor("add", openvino.Tensor(self.tensors.add, shared_memory=True))
        self.result = self.tensors.empty_output()
        self.request.set_output_tensor(openvino.Tensor(self.result, shared_memory=True))
        self.compiled = compiled
        request = self.request

        def run():
            request.start_async()
            request.wait()

        self.run = run
        return self.kernels(compiled)

    def with_channels_last(self, model):
        layouts = {3: ("NWC", "NCW"), 4: ("NHWC", "NCHW"), 5: ("NDHWC", "NCDHW")}
        outside, inside = (openvino.Layout(text) for text in layouts[self.tensors.input.ndim])
        steps = openvino.preprocess.PrePostProcessor(model)
        for number in range(len(model.inputs)):
            steps.input(number).tensor().set_layout(outside)
            steps.input(number).model().set_layout(inside)
        steps.output().tensor().set_layout(outside)
        steps.output().model().set_layout(inside)
        return steps.build()

    @staticmethod
    def kernels(compiled):
        """What the executed graph says of its kernels, those that only hold data left out."""
        names = []
        for node in compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kind = str(info["layerType"].astype(str)) if "layerType" in info else ""
            if kind and kind not in ("Input", "Output", "Const"):
                names.append(f"{kind} {info['primitiveType'].astype(str)}")
        return ", ".join(names)[:200]

    def output(self):
        return self.tensors.result(self.result)


if __name__ == "__main__":
    serve(OpenVino)
