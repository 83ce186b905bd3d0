"""What ages fastest, apart from datasheets: software stacks, and fits of named parameters to measurements."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .plans import Engine
from .records import Count, Identifier, NotNegative, Number, Positive, Record, Text
from .sites import SiteFactors


class Stack(Record):
    """One software stack at one version: host and launch behaviour, padding, defaults of its scheduler."""

    id: Identifier
    name: Text
    version: Text
    aliases: tuple[Text, ...] = ()
    role: Literal["serve", "train", "both"]
    launch: Literal["eager", "graph", "compiled"]
    host_launch_s: Positive = Field(
        description="host time to launch one kernel; eager: the device waits if it is faster"
    )
    step_host_s: NotNegative = Field(description="host and framework time of one iteration or step that nothing hides")
    sequence_host_s: NotNegative = Field(0.0, description="host time for each sequence of an iteration")
    prompt_host_s: NotNegative = Field(
        0.0, description="host time of an iteration that computes prompts, beside that of every one: no graph holds it"
    )
    prompt_gaps: NotNegative = Field(
        0.0,
        description="of an iteration that computes prompts: what it takes beside its kernels, over them; no graph of all of it is "
        "replayed",
    )
    ahead_steps: NotNegative = Field(
        0.0,
        description="iterations that a first token waits beside its own: batches formed ahead, requests received and tokens "
        "sent every few of them",
    )
    request_host_s: NotNegative = Field(
        0.0, description="time of a request before and after the engine (server, tokeniser, stream), beside the device"
    )
    warm_up_s: NotNegative = Field(
        0.0,
        description="first pass of a process that compiles kernels as it meets them; benchmarks that start one contain it",
    )
    launch_hidden_s: NotNegative = Field(
        0.0, description="of each launch of a replayed graph: what runs while its neighbours start or end"
    )
    kernels_per_layer: NotNegative = Field(
        0.0, description="small kernels of a pass through a layer, beside those that are lowered"
    )
    kernels_from: Identifier | None = Field(
        None, description="stack whose kernel calibrations stand in where this has none"
    )
    factors: dict[str, Number] = Field(
        default_factory=dict,
        description="exposed shares of overlapped traffic and the like; serving: <kernel kind>_passes, its time among its "
        "neighbours over that alone, and routing_skew, exponent of the power law of expert loads",
    )
    residuals: dict[str, Number] = Field(
        default_factory=dict,
        description="p10 and p90 of log(measured / predicted) that no fit had seen: p10, p90 of training steps, moe_p10, moe_p90 of "
        "mixtures; tpot_p10, tpot_p90, ttft_p10, ttft_p90 of serving runs",
    )
    engine: Engine = Engine()
    buckets: Literal["none", "power_of_two"] = "none"
    compiled_tokens: Count | None = Field(
        None,
        description="tokens of a sequence that graphs are compiled for: a prompt, one a pass, and the keys that a decode looks at "
        "are padded up to it",
    )
    all_experts: bool = Field(
        False, description="every expert multiplies every token of a pass that asks for as many experts as there are"
    )
    source: Text


Basis = Literal["calibrated", "extrapolated", "datasheet-only"]


class Fit(Record):
    """Where fitted values of a group come from, and how far off they are on rows that the fit did not see."""

    data: Text
    date: Text
    command: Text
    rows: Count = Field(description="measured kernels")
    median: NotNegative = Field(description="of |predicted / measured - 1|, rows left out")
    p90: NotNegative = Field(description="90th percentile of the same")


class Calibration(Record):
    """Named parameters of one family, generation or chip under one stack. A family's file holds shared values, the others what
    they override.

    `parameters[kind][name]`: a kernel kind of lowering/kinds.py, `kind.dtype` to override for one dtype, or
    `kind.dtype.stored`; the keys of what follows are the same.
    `residuals[kind]`: quantiles of log(measured / predicted), for intervals: p10 and p90 of all rows, and where known those of
    a size, such as launch_p10 (sim/cost/intervals.py).
    `ranges[kind][dim]`: smallest and largest value that the data held.
    `priors[kind]`: how far, on the log, generations stand around the family's values and chips around their generation's.
    `fits[kind]`: where the values come from.
    `bases[kind]`: basis of the kinds (and formats) that a chip's own file names, where files are merged; `basis` holds elsewhere.
    """

    id: Identifier
    subject: Identifier = Field(description="family, generation of it, or chip")
    stack: Identifier
    basis: Basis
    parameters: dict[str, dict[str, Number]]
    residuals: dict[str, dict[str, Number]] = Field(default_factory=dict)
    ranges: dict[str, dict[str, tuple[Number, Number]]] = Field(default_factory=dict)
    priors: dict[str, dict[Literal["generation", "chip"], NotNegative]] = Field(default_factory=dict)
    fits: dict[str, Fit] = Field(default_factory=dict)
    bases: dict[str, Basis] = Field(default_factory=dict)
    source: Text
    site: SiteFactors | None = Field(
        None, description="no key of a file: the factors of devices/sites, where there are any"
    )
