"""The fitted numbers of training, all of them: what each means, which stacks or chips share it, and where it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from .beside_fits import Beside, beside_lines

MOST = 60  # fitted numbers in all
MOST_OF_PEAK = 0.97


class Number(NamedTuple):
    """One fitted number. Either stacks: whose `factor` (or field of host times) it is, one value for all of them; or places:
    where in devices/calibrations it stands as `parameter`, (file, kind, what divides the number there); its kernels are those of
    `chips` in `parts`, in plans of a `format` (several: with blanks between; "" = any), under the stack that the file names.
    prior: value before any training row; width: of its logarithm, around the prior."""

    name: str
    prior: float
    width: float
    stacks: tuple[str, ...] = ()
    factor: str = ""
    places: tuple[tuple[str, str, float], ...] = ()
    chips: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    format: str = ""
    parameter: str = "efficiency"

    @property
    def most(self) -> float:
        """Largest value: no product reaches more than its peak, no more than all of the traffic of sharded weights is exposed."""
        if self.factor == "fsdp_exposed":
            return 1.0
        shares = [divisor == 1.0 for _, _, divisor in self.places]
        return MOST_OF_PEAK if shares and all(shares) and self.parameter == "efficiency" else math.inf


_BRIDGE = ("megatron", "megatron-dropping", "megatron-2026.06", "megatron-2024", "megatron-rocm")
_TO_26_04 = ("megatron", "megatron-dropping", "megatron-rocm")
_TITAN = ("torchtitan", "torchtitan-eager", "torchtitan-async-tp", "torchtitan-rowwise")
_EAGER_FSDP = ("llm-foundry", "torch-xpu")
_EVERY = (
    *_BRIDGE,
    *_TITAN,
    *_EAGER_FSDP,
    *("megatron-2021", "megatron-deepspeed", "vtrain-megatron", "maxtext", "neuronx", "optimum-habana"),
)
_GPU = (*_BRIDGE, *_TITAN, *_EAGER_FSDP, "megatron-2021", "megatron-deepspeed", "vtrain-megatron")
PRODUCTS = ("projection", "ffn", "router", "logits", "experts")


def _of(name: str, stacks: tuple[str, ...], factor: str, prior: float, width: float) -> Number:
    return Number(name, prior, width, stacks, factor)


def _product(name: str, prior: float, file: str, kind: str, chips: tuple[str, ...], format: str = "") -> Number:
    return Number(name, prior, 0.15, places=((file, kind, 1.0),), chips=chips, parts=PRODUCTS, format=format)


def _attention(name: str, files: tuple[tuple[str, float], ...], prior: float, chips: tuple[str, ...]) -> Number:
    kinds = ("attention_prefill", "attention_backward")
    places = tuple((file, kind, divisor) for file, divisor in files for kind in kinds)
    return Number(name, prior, 0.2, places=places, chips=chips, parts=("attention",))


_A100, _HOPPER = ("a100-sxm-40gb", "a100-sxm-80gb"), ("h100-sxm", "h200-sxm", "h100-96gb-hbm2e-500w")
_TPUS = ("tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e", "tpu-v7x")
# FLOP that a unit could do in a clock, in bf16: what shares of the peak are of
AMPERE, HOPPER, BLACKWELL = 2048.0, 4096.0, 8192.0

NUMBERS: tuple[Number, ...] = (
    # elementwise passes over their bytes: what real software leaves unfused
    _of("passes of elementwise kernels, DeepSpeed", ("megatron-deepspeed",), "vector_passes", 1.8, 0.4),
    _of("passes of elementwise kernels, Megatron-LM 2021", ("megatron-2021",), "vector_passes", 1.8, 0.4),
    _of("passes of elementwise kernels, Megatron with Transformer Engine", _BRIDGE, "vector_passes", 1.2, 0.4),
    _of("passes of elementwise kernels, eager FSDP", (*_EAGER_FSDP, "torchtitan-eager"), "vector_passes", 1.8, 0.4),
    _of(
        "passes of elementwise kernels, torch.compile",
        ("torchtitan", "torchtitan-async-tp", "torchtitan-rowwise"),
        "vector_passes",
        0.72,
        0.3,
    ),
    _of("passes of elementwise kernels, vTrain's Megatron", ("vtrain-megatron",), "vector_passes", 1.2, 0.4),
    _of("passes of elementwise kernels, XLA", ("maxtext",), "vector_passes", 0.72, 0.4),
    # 8- and 4-bit products: passes that cast and transpose their operands
    _of(
        "casts, Transformer Engine of 2025-26",
        (*_TO_26_04, "megatron-2026.06"),
        "cast_passes",
        1.0,
        0.5,
    ),
    _of("casts, Transformer Engine of 2023-24", ("megatron-2024",), "cast_passes", 1.5, 0.5),
    _of("casts, torch.compile", ("torchtitan", "torchtitan-eager", "torchtitan-async-tp"), "cast_passes", 1.0, 0.5),
    _of("casts, Gaudi", ("optimum-habana",), "cast_passes", 0.5, 0.5),
    _of("casts with a scale for each row, torch.compile", ("torchtitan-rowwise",), "cast_passes", 3.0, 0.6),
    # traffic over its time alone: interference above 1, overlap below
    _of("tensor-parallel traffic, DeepSpeed", ("megatron-deepspeed",), "tp_passes", 1.0, 0.3),
    _of("tensor-parallel traffic, vTrain's Megatron", ("vtrain-megatron",), "tp_passes", 1.0, 0.3),
    _of("tensor-parallel traffic, Megatron with Transformer Engine", _BRIDGE, "tp_passes", 0.8, 0.3),
    _of(
        "tensor-parallel traffic, torchtitan",
        ("torchtitan", "torchtitan-eager", "torchtitan-rowwise"),
        "tp_passes",
        0.95,
        0.3,
    ),
    _of("tensor-parallel traffic, asynchronous", ("torchtitan-async-tp",), "tp_passes", 0.4, 0.4),
    # data-parallel traffic that no compute hides, whatever there is
    _of("data-parallel traffic, Megatron with Transformer Engine", _BRIDGE, "dp_exposed", 0.2, 0.5),
    _of("sharded weights, eager FSDP", _EAGER_FSDP, "fsdp_exposed", 0.5, 0.5),
    _of("sharded weights, torchtitan", _TITAN, "fsdp_exposed", 0.3, 0.5),
    _of("sharded weights, Megatron with Transformer Engine", _BRIDGE, "fsdp_exposed", 0.3, 0.5),
    _of("sharded weights, XLA on ICI", ("maxtext",), "fsdp_exposed", 0.3, 0.5),
    # what all domains of the inner network lose to the slowest of them
    _of("waiting for the slowest domain, XLA", ("maxtext",), "straggle", 0.01, 0.7),
    _of("waiting for the slowest domain, GPUs", _GPU, "straggle", 0.01, 0.7),
    # sums of gradients outside the product
    _of("passes of gradient sums, DeepSpeed", ("megatron-deepspeed",), "gradient_passes", 1.0, 0.6),
    _of("passes of gradient sums, Megatron-LM 2021", ("megatron-2021",), "gradient_passes", 1.0, 0.4),
    _of("passes of the optimizer", _EVERY, "optimizer_passes", 1.5, 0.3),
    # attention without fused kernels
    _of(
        "passes of the softmax", ("megatron-deepspeed", "megatron-2021", "vtrain-megatron"), "softmax_passes", 1.0, 0.4
    ),
    _of(
        "products of odd sizes",
        ("megatron-deepspeed", "megatron-2021", "vtrain-megatron"),
        "unaligned_passes",
        5.0,
        0.7,
    ),
    # mixtures of experts
    _of("grouped products, to 26.04", _TO_26_04, "experts_passes", 1.0, 0.4),
    _of("grouped products, from 26.06", ("megatron-2026.06",), "experts_passes", 1.0, 0.4),
    _of("grouped products, XLA", ("maxtext",), "experts_passes", 1.2, 0.4),
    _of("expert traffic, to 26.04", _TO_26_04, "ep_passes", 1.0, 0.5),
    _of("expert traffic, from 26.06", ("megatron-2026.06",), "ep_passes", 0.4, 0.5),
    _of(
        "host time of an expert layer",
        ("megatron", "megatron-rocm", "megatron-2024", "megatron-2026.06"),
        "moe_host_layer_s",
        0.01,
        0.4,
    ),
    # host
    _of("host time of a launch, vTrain's Megatron", ("vtrain-megatron",), "host_launch_s", 20e-6, 0.4),
    _of("host time of a step, vTrain's Megatron", ("vtrain-megatron",), "step_host_s", 10e-3, 0.7),
    # kernels that no table of kernels holds
    _attention(
        "FLOP a unit and clock of 2023's Triton attention",
        (("gpu-ampere--llm-foundry", AMPERE), ("gpu-hopper--llm-foundry", HOPPER)),
        700.0,
        (*_A100, *_HOPPER),
    ),
    _attention(
        "FLOP a unit and clock of FlashAttention-2 in PyTorch",
        (("gpu-hopper--torchtitan", HOPPER), ("gpu-blackwell--torchtitan", BLACKWELL)),
        800.0,
        (*_HOPPER, "b200", "gb200"),
    ),
    _product("fp16 products of V100", 0.75, "v100-sxm2-32gb--any", "gemm", ("v100-sxm2-32gb",)),
    _product("fp8 products of GB300", 0.787, "gb300--any", "gemm.fp8", ("gb300",), "fp8"),
    _product("clocks of a step of fp4 products of GB300", 3.06, "gb300--any", "gemm.fp4", ("gb300",), "fp4")._replace(
        parameter="step_clocks"
    ),
    *(_product(f"products of TPU {chip[4:]}", 0.8, f"{chip}--maxtext", "gemm", (chip,)) for chip in _TPUS),
    _product(
        "8-bit products of TPU", 0.65, "tpu-v7x--maxtext", "gemm.fp8", ("tpu-v7x", "tpu-v6e"), "fp8 int8"
    )._replace(places=(("tpu-v7x--maxtext", "gemm.fp8", 1.0), ("tpu--any", "gemm.int8", 1.0))),
    _attention("attention of TPU", (("tpu--maxtext", 1.0),), 0.7, _TPUS),
    _product("products of Trainium1", 0.5, "neuron--neuronx", "gemm", ("trainium1",)),
)


BESIDE: tuple[Beside, ...] = (
    Beside("energy of a FLOP of the 500 W H100, which sets its clock", "calibrations/h100-96gb-hbm2e-500w--any"),
    Beside("fp8 products of TPU generations without rows", "calibrations/tpu--any"),
    Beside("grouped products of TPU", "calibrations/tpu--any"),
    Beside("context of a process (memory)", "stacks/megatron"),
    Beside("buffers of a communicator (memory)", "stacks/megatron"),
    Beside("fragmentation (memory)", "stacks/megatron"),
)


def page(values: Mapping[str, float]) -> str:
    """The list of all numbers as a page of the documentation; values: by name."""
    lines = [
        "# The numbers of training",
        "",
        f"{len(NUMBERS) + len(BESIDE)} numbers have seen a training row, of at most {MOST}; everything else comes from data "
        "sheets and from measured kernels.",
        "`make training-fit DATA=folder` fits the first list again (robust least squares of the logarithm of the step, around "
        "the priors) and writes it into `devices/`.",
        "Passes multiply the time that the bytes of a kind of kernel take alone; an exposed share is what no compute hides, "
        "whatever there is of it.",
        "",
        "| number | prior | fitted | of | as |",
        "|---|---|---|---|---|",
    ]
    for number in NUMBERS:
        where = ", ".join(number.stacks) or ", ".join(sorted({file for file, _, _ in number.places}))
        lines.append(
            f"| {number.name} | {number.prior:.4g} | {values[number.name]:.4g} | {where} | "
            f"{number.factor or number.parameter} |"
        )
    return "\n".join([*lines, *beside_lines(BESIDE)]) + "\n"
