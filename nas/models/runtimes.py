"""The runtimes that deployed networks are timed in, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.models.onnx import OnnxNet, session_options
from nas.models.onnx_export import as_onnx
from search_spaces.cost.latency import CPU, Conditions, Eager, Runtime, device_name, processor
from search_spaces.ranges import RuntimeName

RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
PROVIDERS: Mapping[str, str] = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""ONNX Runtime's words for where it computes."""


def runtime_named(name: RuntimeName, device: torch.device = CPU, precision: str = "fp32") -> Runtime:
    """`device` and `precision` (fp32 or bf16) are those of torch's runtimes; the others' names say theirs, in 32 bits.

    Raises ValueError where the runtime is not installed, or has no such device here.
    """
    if name in PROVIDERS:
        _check_provider(name)
        return OnnxRuntime(provider=PROVIDERS[name])
    if name == "openvino":
        _openvino()
        return OpenVINO()
    return Eager(device=device, precision=precision, compiled=name == "torch-compile")


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """ONNX Runtime with one of its providers, and as many threads as torch has."""

    provider: str = PROVIDERS["onnxruntime"]

    def conditions(self) -> Conditions:
        import onnxruntime

        on_cpu = self.provider == PROVIDERS["onnxruntime"]
        kind = "" if on_cpu else f", {self.provider.removesuffix('ExecutionProvider')}"
        return Conditions(
            runtime=f"ONNX Runtime {onnxruntime.__version__}{kind}",
            device=processor() if on_cpu else device_name(torch.device("cuda")),
            threads=torch.get_num_threads(),
            precision="fp32",
        )

    def prepare(self, net: nn.Module, images: Tensor) -> Callable[[], object]:
        if isinstance(net, OnnxNet):
            return lambda: net(images)
        return self.prepare_file(_file(net, images), images.numpy())

    def prepare_file(self, content: bytes, images: np.ndarray) -> Callable[[], object]:
        """A call that runs an ONNX file with one input on `images` once."""
        import onnxruntime

        session = onnxruntime.InferenceSession(content, session_options(), providers=[self.provider])
        inputs = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, inputs)


@dataclass(frozen=True, kw_only=True)
class OpenVINO:
    """OpenVINO on the CPU, set up for the latency of single requests, with as many threads as torch has."""

    def conditions(self) -> Conditions:
        version = _openvino().__version__.partition("-")[0]
        return Conditions(
            runtime=f"OpenVINO {version}", device=processor(), threads=torch.get_num_threads(), precision="fp32"
        )

    def prepare(self, net: nn.Module, images: Tensor) -> Callable[[], object]:
        return self.prepare_model(_openvino().Core().read_model(_file(net, images)), images.numpy())

    def prepare_model(self, model: Any, images: np.ndarray) -> Callable[[], object]:
        """A call that runs an OpenVINO model with one input on `images` once."""
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = _openvino().Core().compile_model(model, "CPU", settings).create_infer_request()
        return lambda: request.infer([images])


def _file(net: nn.Module, images: Tensor) -> bytes:
    """The network as ONNX; of one that finds persons the form that has one."""
    finds = getattr(net, "finder", None)
    channels, height, width = images.shape[1:]
    return as_onnx(finds() if finds else net, height, width, channels)


def _check_provider(name: str) -> None:
    import onnxruntime

    known = onnxruntime.get_available_providers()
    if PROVIDERS[name] not in known:
        raise ValueError(
            f"the runtime {name} needs ONNX Runtime's {PROVIDERS[name]}, and this one has {', '.join(known)}: "
            "pip install onnxruntime-gpu in the place of onnxruntime, with a driver, or choose another runtime"
        )


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ValueError(
            f"the runtime openvino needs the package openvino ({first_line(error)}): pip install 'nas-reid[deploy]'"
        ) from error
    return openvino
