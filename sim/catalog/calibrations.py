"""What ages fastest, apart from datasheets: software stacks, and fits of named parameters to measurements."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .plans import Engine
from .records import Identifier, NotNegative, Number, Positive, Record, Text


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
    request_host_s: NotNegative = Field(
        0.0, description="time of a request before and after the engine (server, tokeniser, stream), beside the device"
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
        default_factory=dict, description="exposed shares of overlapped traffic and the like"
    )
    engine: Engine = Engine()
    buckets: Literal["none", "power_of_two"] = "none"
    source: Text


Basis = Literal["calibrated", "extrapolated", "datasheet-only"]


class Fit(Record):
    """Where fitted values come from."""

    data: Text
    date: Text
    command: Text


class Calibration(Record):
    """Named parameters of one family or chip under one stack. A family's file holds shared values, a chip's its overrides.

    `parameters[kind][name]`: a kernel kind of lowering/kinds.py, or `kind.dtype` to override for one dtype.
    `residuals[kind]`: quantiles of log(measured / predicted), for intervals.
    `ranges[kind][dim]`: smallest and largest value that the data held.
    `bases[kind]`: basis of the kinds (and formats) that a chip's own file names, where files are merged; `basis` holds elsewhere.
    """

    id: Identifier
    subject: Identifier = Field(description="family or chip")
    stack: Identifier
    basis: Basis
    parameters: dict[str, dict[str, Number]]
    residuals: dict[str, dict[str, Number]] = Field(default_factory=dict)
    ranges: dict[str, dict[str, tuple[Number, Number]]] = Field(default_factory=dict)
    fit: Fit | None = None
    bases: dict[str, Basis] = Field(default_factory=dict)
    source: Text
