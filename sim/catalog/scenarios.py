"""Scenarios: groups of replicas, the demand on them, objectives. A short YAML with one group stays flat."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..errors import InputError
from .campaigns import Campaign
from .files import Document, read_yaml
from .operations import Operations
from .ownership import Owned
from .plans import Engine, Plan
from .records import Count, CountOrZero, NotNegative, Positive, Record, Text, parse


class TokenBudget(Record):
    """Training demand."""

    kind: Literal["tokens"] = "tokens"
    tokens: Positive | None = Field(None, description="tokens to train on; null: one step is answered")
    seq_len: Count = Field(2048, description="tokens of a sequence")


class Traffic(Record):
    """Serving demand: a trace file, a generator, or an open (rate) or closed (concurrency) loop of nominal lengths."""

    kind: Literal["traffic"] = "traffic"
    trace: Text | None = None
    generator: Text | None = Field(
        None, description="YAML file of a generator, as `gambrel export traffic` fits it to a trace"
    )
    rate_requests_per_s: Positive | None = None
    concurrency: Count | None = None
    requests: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    spread: NotNegative = Field(0.0, le=1.0, description="lengths are uniform in (1 - spread, 1) of the nominal ones")
    gap_variation: Positive = Field(
        1.0, description="of an open loop: standard deviation of the gaps between arrivals over their mean; 1 = Poisson"
    )
    turns: Count = Field(
        1, description="requests of a conversation: each prompt repeats all that was said and adds input_tokens"
    )
    think_s: NotNegative = Field(0.0, description="from an answer to the next turn of its conversation")
    scale_rate: Positive = 1.0
    scale_length: Positive = 1.0
    models: tuple[Text, ...] = Field(
        (), description="which share of the requests asks for which model, such as llama-3.1-8b=3,mistral-7b=1"
    )

    def shares(self) -> dict[str, float]:
        """`models` as share by name. Raises InputError for one that cannot be read."""
        out: dict[str, float] = {}
        for text in self.models:
            name, _, share = text.partition("=")
            try:
                out[name.strip()] = float(share)
            except ValueError:
                out[name.strip()] = 0.0
            if not 0.0 < out[name.strip()] < math.inf:
                raise InputError(f"demand.models = {text!r} is no model with a share. Write such as mistral-7b=0.3.")
        return out


class Slo(Record):
    """Limits that a request must keep to count as good, and the percentile that must keep them."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    latency_s: Positive | None = None
    percentile: float = Field(95.0, gt=0, le=100)


class Economy(Record):
    """What money, energy and carbon are counted with; null: the catalogue's."""

    usd_per_device_hour: Positive | None = None
    term: Text | None = Field(
        None, description="on_demand, spot, 1yr_commit, ...; null: on demand, else what is offered"
    )
    region: Text | None = Field(None, description="of the offer; null: any")
    usd_per_kwh: NotNegative | None = None
    kg_co2_per_kwh: NotNegative | None = Field(None, description="of the grid where it runs (location-based)")
    kg_co2_per_kwh_market: NotNegative | None = Field(None, description="of the electricity bought, by its contracts")
    grid: Text | None = Field(None, description="CSV of hours: datetime,kg_co2_per_kwh; goes before kg_co2_per_kwh")
    start: Text | None = Field(None, description="when it begins, UTC, for --grid; null: with the file")
    pue: Positive | None = None
    spot_mtbf_s: Positive | None = Field(None, description="of one spot job until it is interrupted; null: not counted")
    spot_lost_s: NotNegative = Field(900.0, description="work and restart that an interruption wastes (assumed)")
    life_years: Positive = Field(6.0, description="over which making a chip counts (Google's study, arXiv:2502.01671)")
    owned: Owned | None = Field(None, description="terms of owning the chips; null: they are rented")


class Group(Record):
    """Replicas of one model on one kind of cluster under one plan."""

    role: Literal["train", "serve", "prefill", "decode"]
    model: Text
    cluster: Text
    devices: Count | None = Field(None, description="chips in all; null: one replica's")
    replicas: Count | None = None
    prefill_replicas: Count | None = Field(None, description="of a group that is split: replicas that prefill")
    decode_replicas: Count | None = Field(None, description="of a group that is split: replicas that decode")
    min_replicas: Count = Field(1, description="fewest that autoscaling leaves")
    max_replicas: Count | None = Field(None, description="most that autoscaling orders; null: this group is not scaled")
    plan: Plan = Plan()
    stack: Text | None = Field(None, description="null: the family's default")
    engine: Engine = Engine()
    power_cap_w: Positive | None = Field(None, description="power that one chip may draw; null: its own limit")
    chip_changes: tuple[Text, ...] = Field((), description="what if the chip were another, such as matrix.clock*=1.1")
    cluster_changes: tuple[Text, ...] = Field(
        (), description="what if the cluster were another, such as tiers.0.bandwidth*=2"
    )
    model_changes: tuple[Text, ...] = Field(
        (), description="what if the model were another, such as blocks.0.layers*=2"
    )


class Scenario(Record):
    """A whole question. `catalog` names the folder that relative names are looked up in first."""

    groups: tuple[Group, ...] = Field(min_length=1)
    router: Text = "round_robin"
    demand: TokenBudget | Traffic = Field(TokenBudget(), discriminator="kind")
    slo: Slo = Slo()
    economy: Economy = Economy()
    campaign: Campaign = Campaign()
    operations: Operations = Operations()
    seed: CountOrZero = 0


def serving_groups(scenario: Scenario) -> tuple[Group, ...]:
    """The groups that serve, each split one as two. Raises InputError for a split that lacks a half."""
    out: list[Group] = []
    for group in scenario.groups:
        split = (group.prefill_replicas, group.decode_replicas)
        if split == (None, None):
            out.append(group)
            continue
        if None in split or group.replicas is not None or group.devices is not None:
            raise InputError(
                "a split group needs both prefill_replicas and decode_replicas, and neither replicas nor devices. Mend it."
            )
        for role, count in zip(("prefill", "decode"), split, strict=True):
            out.append(group.with_(role=role, replicas=count, prefill_replicas=None, decode_replicas=None))
    return tuple(out)


_GROUP_KEYS = frozenset(Group.model_fields)


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file; a flat one (model, cluster, plan at the top) is one group."""
    return parse(Scenario, nested(read_yaml(path)))


def nested(document: Document) -> Document:
    """A flat scenario's document with its group inside; a whole one as it is."""
    if not isinstance(document.data, dict) or "groups" in document.data:
        return document
    data: dict[str, Any] = document.data
    group = {key: value for key, value in data.items() if key in _GROUP_KEYS}
    rest = {key: value for key, value in data.items() if key not in _GROUP_KEYS}
    lines = dict(document.lines)
    for key_path, line in document.lines.items():
        if key_path and key_path[0] in _GROUP_KEYS:
            lines[("groups", 0, *key_path)] = line
    return Document({"groups": (group,), **rest}, lines, document.name)
