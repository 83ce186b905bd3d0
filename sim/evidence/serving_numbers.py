"""The fitted numbers of serving: what each is, where it is kept, and what is known before a run is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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


def _passes(kind: str, what: str) -> Number:
    return Number(f"{what}, among its neighbours over alone", f"{kind}_passes", 1.0, 0.1, GRAPHS)


def _engine(stack: str, name: str) -> tuple[Number, ...]:
    return (
        Number(f"host time of a step, {name} [s]", "step_host_s", 4e-4, 0.7, (stack,)),
        Number(f"host time of a sequence in a step, {name} [s]", "sequence_host_s", 5e-6, 1.0, (stack,)),
        Number(f"host time of a step with prompts, {name} [s]", "prompt_host_s", 5e-3, 0.7, (stack,)),
        Number(f"small kernels of a layer, {name}", "kernels_per_layer", 4.0, 0.7, (stack,)),
        Number(f"host time of a request, {name} [s]", "request_host_s", 3e-2, 0.7, (stack,)),
        Number(f"steps that a first token waits, {name}", "ahead_steps", 3.0, 0.7, (stack,)),
    )


NUMBERS: tuple[Number, ...] = (
    Number("what a graph hides of a launch [s]", "launch_hidden_s", 1e-6, 0.5, GRAPHS),
    _passes("gemm", "products"),
    _passes("moe", "experts"),
    _passes("attention_decode", "attention of decodes"),
    _passes("attention_prefill", "attention of prompts"),
    _passes("linear_attention", "linear attention"),
    _passes("memory", "elementwise kernels"),
    _passes("all_reduce", "all-reduce"),
    _passes("all_to_all", "all-to-all"),
    *_engine("vllm", "vLLM"),
    *_engine("sglang", "SGLang"),
    *_engine("trtllm", "TensorRT-LLM"),
)


class Beside(NamedTuple):
    """A number that runs of serving have moved but that the fit leaves alone: what it is, its stack and field."""

    name: str
    stack: str
    field: str


BESIDE: tuple[Beside, ...] = (
    *(
        Beside("exponent of expert loads, one for the three, chosen of seven", stack, "routing_skew")
        for stack in GRAPHS[:1]
    ),
    Beside("host time of a step, vLLM of 2025", "vllm-2025", "step_host_s"),
    Beside("host time of a sequence, vLLM of 2025", "vllm-2025", "sequence_host_s"),
    Beside("host time of a step, Gaudi", "vllm-gaudi", "step_host_s"),
    Beside("host time of a step, vLLM on Neuron", "vllm-neuron", "step_host_s"),
    Beside("host time of a sequence, vLLM on Neuron", "vllm-neuron", "sequence_host_s"),
    Beside("host time of a sequence, vLLM on Intel GPUs", "vllm-xpu", "sequence_host_s"),
    Beside("compilation at the start, vLLM on Intel GPUs", "vllm-xpu", "warm_up_s"),
    Beside("host time of a step, vLLM on ROCm", "vllm-rocm", "step_host_s"),
    Beside("host time of a sequence, vLLM on ROCm", "vllm-rocm", "sequence_host_s"),
)


def page(values: Mapping[str, float], others: Mapping[tuple[str, str], float]) -> str:
    """The list of all numbers as a page of the documentation; values: by name; others: of BESIDE by stack and field."""
    lines = [
        "# The numbers of serving",
        "",
        f"{len(NUMBERS) + len(BESIDE)} numbers have seen a run of serving, of at most {MOST}; everything else comes from data "
        "sheets and from measured kernels.",
        "`make serving-fit DATA=folder` fits the first list again (robust least squares of the logarithms of time a token and "
        "time to first token, around the priors) and writes it into `devices/stacks`.",
        "A kernel's time among its neighbours is that alone less what the graph hides of its launch, times the factor of its kind.",
        "",
        "| number | prior | fitted | of | as |",
        "|---|---|---|---|---|",
    ]
    for number in NUMBERS:
        where = ", ".join(number.stacks)
        lines.append(f"| {number.name} | {number.prior:.4g} | {values[number.name]:.4g} | {where} | {number.field} |")
    lines += ["", "Found beside the fit:", "", "| number | value | stack | as |", "|---|---|---|---|"]
    lines += [
        f"| {each.name} | {others[each.stack, each.field]:.4g} | {each.stack} | {each.field} |" for each in BESIDE
    ]
    return "\n".join(lines) + "\n"
