"""The numbers that published inference results decide: what each is, where it is kept, and what is known before a run is seen."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """One value of a catalogue file. file: under devices/; path: field of a stack, or a kind and its parameter."""

    file: str
    path: tuple[str, ...]


class InferenceNumber(NamedTuple):
    """One number. family: of the devices whose rows decide it; prior: its value before any run is seen; width: how far, on the log,
    a fit may go from there for a row's worth of residuals; places: that hold it, all the same value."""

    name: str
    family: str
    prior: float
    width: float
    places: tuple[Place, ...]


def _stack(name: str, family: str, prior: float, width: float, stack: str, *path: str) -> InferenceNumber:
    return InferenceNumber(name, family, prior, width, (Place(f"stacks/{stack}", path),))


def _kernel(name: str, family: str, prior: float, width: float, file: str, *paths: tuple[str, str]) -> InferenceNumber:
    return InferenceNumber(name, family, prior, width, tuple(Place(f"calibrations/{file}", path) for path in paths))


def _of_2024(stack: str, name: str) -> tuple[InferenceNumber, ...]:
    return (
        _stack(f"host time of a step, {name} [s]", "gpu", 5e-4, 1.0, stack, "step_host_s"),
        _stack(f"host time of a sequence, {name} [s]", "gpu", 2e-5, 1.0, stack, "sequence_host_s"),
        _stack(f"all-reduces over alone, {name}", "gpu", 1.5, 0.5, stack, "factors", "all_reduce_passes"),
    )


_LAUNCH, _MEMORY = "launch_clocks", "memory_efficiency"
_ROCM = "amd--vllm-rocm-2024"
INFERENCE_NUMBERS: tuple[InferenceNumber, ...] = (
    *_of_2024("vllm-2024", "vLLM of 2024"),
    *_of_2024("trtllm-2024", "TensorRT-LLM of 2024"),
    _stack("host time of a step, vLLM on ROCm of 2024 [s]", "amd", 1e-3, 1.0, "vllm-rocm-2024", "step_host_s"),
    _stack("host time of a sequence, vLLM on ROCm of 2024 [s]", "amd", 5e-5, 1.0, "vllm-rocm-2024", "sequence_host_s"),
    _kernel(
        "rate of a head of decodes, vLLM on ROCm of 2024",
        "amd", 20.0, 1.0, _ROCM, ("attention_decode", "alone_values_per_clock"),
    ),
    _kernel("memory efficiency of products, vLLM on ROCm of 2024", "amd", 0.7, 0.2, _ROCM, ("gemm", _MEMORY)),
    _kernel("launch of an all-reduce, vLLM on ROCm of 2024 [clocks]", "amd", 4e4, 1.0, _ROCM, ("all_reduce", _LAUNCH)),
    _kernel(
        "products of MI300X, vLLM on ROCm of 2024",
        "amd", 0.3, 0.7, "amd-cdna3--vllm-rocm-2024", ("gemm", "efficiency"), ("gemm.fp16", "efficiency"),
    ),
    _stack("host time of a step, vLLM on TPU [s]", "tpu", 1e-3, 1.0, "vllm-tpu", "step_host_s"),
    _stack("host time of a step, Gaudi [s]", "gaudi", 1e-3, 1.0, "vllm-gaudi", "step_host_s"),
    _kernel(
        "launches inside a graph, Gaudi [clocks]",
        "gaudi", 1000.0, 1.0, "gaudi--any", ("gemm", _LAUNCH), ("memory", _LAUNCH),
    ),
    _kernel("memory efficiency of products, Gaudi", "gaudi", 0.75, 0.2, "gaudi--any", ("gemm", _MEMORY)),
    _kernel("launch of an all-reduce, Gaudi [clocks]", "gaudi", 1e4, 1.0, "gaudi--any", ("all_reduce", _LAUNCH)),
    _kernel("an item of decodes, Gaudi [clocks]", "gaudi", 300.0, 1.0, "gaudi--any", ("attention_decode", "item_clocks")),
    _stack("host time of a sequence, vLLM on Intel GPUs [s]", "intel-gpu", 5e-4, 1.0, "vllm-xpu", "sequence_host_s"),
    _stack("compilation at the start, vLLM on Intel GPUs [s]", "intel-gpu", 10.0, 1.0, "vllm-xpu", "warm_up_s"),
    _kernel(
        "launches, Intel GPUs [clocks]",
        "intel-gpu", 3000.0, 1.0, "intel-gpu--any", ("gemm", _LAUNCH), ("memory", _LAUNCH),
    ),
    _kernel("an item of decodes, Intel GPUs [clocks]", "intel-gpu", 1500.0, 1.0, "intel-gpu--any", ("attention_decode", "item_clocks")),
    _kernel("memory efficiency of products, Max 1550", "intel-gpu", 0.65, 0.2, "intel-gpu-xe-hpc--any", ("gemm", _MEMORY)),
    _stack("host time of a step, vLLM on Neuron [s]", "neuron", 5e-3, 1.0, "vllm-neuron", "step_host_s"),
    _stack("host time of a sequence, vLLM on Neuron [s]", "neuron", 1e-4, 1.0, "vllm-neuron", "sequence_host_s"),
    _kernel(
        "launches inside a compiled program, Neuron [clocks]",
        "neuron", 100.0, 0.7, "neuron--any", ("gemm", _LAUNCH), ("memory", _LAUNCH),
    ),
    _kernel("launch of attention of prompts, Neuron [clocks]", "neuron", 4000.0, 1.0, "neuron--any", ("attention_prefill", _LAUNCH)),
    _kernel("launch of attention of decodes, Neuron [clocks]", "neuron", 2000.0, 1.0, "neuron--any", ("attention_decode", _LAUNCH)),
    _kernel("memory efficiency of products, Neuron", "neuron", 0.75, 0.2, "neuron--any", ("gemm", _MEMORY)),
    _kernel("launch of an all-reduce, Neuron [clocks]", "neuron", 3e4, 1.0, "neuron--any", ("all_reduce", _LAUNCH)),
)  # fmt: skip
