"""The fitted numbers of serving: what each is, where it is kept, and what is known before a run is seen."""

from __future__ import annotations

from typing import NamedTuple

from .beside_fits import Beside

MOST = 60  # numbers that runs of serving may decide, beyond those of kernels
GRAPHS = ("vllm", "sglang", "trtllm")  # engines whose decode steps are replayed graphs on NVIDIA chips


class Number(NamedTuple):
    """One number. field: of a stack, or a key of its factors; prior: its value before any run is seen; width: how far, on the
    log, a fit may go from there for a row's worth of residuals; stacks: whose number it is."""

    name: str
    field: str
    prior: float
    width: float
    stacks: tuple[str, ...]


def _passes(kind: str, what: str, width: float) -> Number:
    return Number(f"{what}, among their neighbours over alone", f"{kind}_passes", 1.0, width, GRAPHS)


def _engine(stack: str, name: str) -> tuple[Number, ...]:
    return (
        Number(f"host time of a step, {name} [s]", "step_host_s", 4e-4, 0.7, (stack,)),
        Number(f"host time of a sequence in a step, {name} [s]", "sequence_host_s", 5e-6, 1.0, (stack,)),
        Number(f"host time of a step with prompts, {name} [s]", "prompt_host_s", 5e-3, 0.4, (stack,)),
        Number(f"small kernels of a layer, {name}", "kernels_per_layer", 4.0, 0.7, (stack,)),
        Number(f"host time of a request, {name} [s]", "request_host_s", 3e-2, 0.7, (stack,)),
        Number(f"steps that a first token waits, {name}", "ahead_steps", 3.0, 0.7, (stack,)),
    )


NUMBERS: tuple[Number, ...] = (
    Number("what a graph hides of a launch [s]", "launch_hidden_s", 1e-6, 0.5, GRAPHS),
    _passes("gemm", "products", 0.05),
    _passes("moe", "experts", 0.1),
    _passes("attention_decode", "attention of decodes", 0.02),
    _passes("latent_decode", "decodes over latents", 0.1),
    _passes("memory", "elementwise kernels", 0.1),
    _passes("all_reduce", "all-reduces", 0.1),
    *_engine("vllm", "vLLM"),
    Number("what a step with prompts takes beside its kernels, over them, vLLM", "prompt_gaps", 0.1, 1.0, ("vllm",)),
    *_engine("sglang", "SGLang"),
    *_engine("trtllm", "TensorRT-LLM"),
)


BESIDE: tuple[Beside, ...] = (
    Beside("exponent of expert loads of engines with graphs, chosen of seven", "stacks/vllm"),
    Beside("host time of a step, vLLM of 2025", "stacks/vllm-2025"),
    Beside("host time of a sequence, vLLM of 2025", "stacks/vllm-2025"),
)
