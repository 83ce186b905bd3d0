"""Rows of published training campaigns -> time between failures and productive share, from failures counted on other fleets.

Closed form: components fail independently, so rates add; each interruption costs the time to come back and half the training
between checkpoints, whose interval is Young's (1974). docs/how-to/plan-for-failures.md says where each number comes from.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from ..catalog.chips import Chip
from ..catalog.clusters import BY_HAND_ONLY, Reliability
from ..catalog.library import cluster_of, normal
from ..lowering.parameters import parameters
from ..training.campaign_rates import failures_per_s, young_s
from ..training.campaign_setup import AUTOMATIC_RESTART_S, BYTES_PER_PARAMETER, HOST_BYTES_PER_S
from .context import Context
from .predictions import Answer, Predictions, Progress, predict_rows
from .tables import Row, Skip, Table

BY_HAND_UNTIL = 2022  # campaigns before automatic restart was common
# Wall time lost to an interruption where people restart [h]. OPT-175B: 41% of 7.5 h. HLAT on 4096 Trainium: 22.17% of the 14.2 h
# that this file predicts between its failures (both https://glennklockwood.com/garden/job-reliability). A row sees the other's.
BY_HAND_H = {"opt": 3.08, "hlat": 3.15}
# A factor each way: fleets count from 29,500 (RSC-1) to 82,000 (RSC-2) device-hours a failure.
SPREAD = 1.7


class Fleet(NamedTuple):
    """Failures counted once: by component, on a chip's generation."""

    mtbf_s: dict[str, float]
    generation: str
    reliability: Reliability

    @property
    def by_component(self) -> bool:
        return len(set(self.mtbf_s) - {BY_HAND_ONLY}) > 1


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Productive share of the time and mean time between failures [h] of every campaign."""
    fleets = fleets_of(context)
    return predict_rows(table, lambda row: _answer(row, context, fleets), progress)


def fleets_of(context: Context) -> tuple[Fleet, ...]:
    """Every fleet of the catalogue on which failures of language-model training were counted, once."""
    found: dict[str, Fleet] = {}
    for entry in context.library.entries("cluster"):
        cluster = context.library.cluster(entry.id)
        known = cluster.reliability
        if known is None or known.fleet is None or not known.language or not known.mtbf_s:
            continue
        chip = context.library.chip(known.counted_on or cluster.chip)
        found.setdefault(known.fleet, Fleet(dict(known.mtbf_s), chip.generation, known))
    return tuple(found.values())


def chosen(fleets: tuple[Fleet, ...], chip: Chip, model: str) -> tuple[Fleet, ...]:
    """Fleets that speak for a campaign and have not seen it: of the chip's generation; else those counted by component, which carry
    over to nodes of another shape; else all. Raises Skip if there is none."""
    asked = normal(model)
    unseen = tuple(f for f in fleets if not any(asked.startswith(name) for name in f.reliability.campaigns))
    for picked in (
        tuple(f for f in unseen if f.generation == chip.generation),
        tuple(f for f in unseen if f.by_component),
        unseen,
    ):
        if picked:
            return picked
    raise Skip("the catalogue has no failure rates that were not counted on this very campaign")


def _answer(row: Row, context: Context, fleets: tuple[Fleet, ...]) -> Answer:
    chip, devices = context.chip(row.text("device")), row.need("num_devices")
    picked = chosen(fleets, chip, row.text("model"))
    rate = _rate(row, chip, devices, context, picked)
    mtbf_s = 1.0 / rate
    fitted = _fitted(row, picked)
    share = max(0.0, 1.0 - _lost_s(row, chip, devices, context, mtbf_s) / mtbf_s)
    high = min(1.0, 1.0 - (1.0 - share) / SPREAD) / share if share else math.nan
    low = max(0.0, 1.0 - (1.0 - share) * SPREAD) / share if share else math.nan
    values = {"planned_or_effective_fraction": share, "mtbf_h": mtbf_s / 3600.0}
    return Answer(values, "measured" if fitted else "extrapolated", low, high)


def _rate(row: Row, chip: Chip, devices: int, context: Context, picked: tuple[Fleet, ...]) -> float:
    """Interruptions a second: the geometric mean of the fleets, each of which counts once whatever its size."""
    per_node = _chips_per_node(context, chip)
    everything = counts_everything(row)
    logs = []
    for fleet in picked:
        mtbf_s = {name: value for name, value in fleet.mtbf_s.items() if everything or name != BY_HAND_ONLY}
        logs.append(math.log(failures_per_s(mtbf_s, per_node, devices)))
    return math.exp(math.fsum(logs) / len(logs))


def _chips_per_node(context: Context, chip: Chip) -> int:
    """Of the first cluster of the catalogue with this chip; a chip without one is taken as a node of its own ports."""
    for entry in context.library.entries("cluster"):
        cluster = context.library.cluster(entry.id)
        if cluster.chip == chip.id:
            return cluster.chips_per_node
    return cluster_of(chip).chips_per_node


def _lost_s(row: Row, chip: Chip, devices: int, context: Context, mtbf_s: float) -> float:
    """Wall time that an interruption costs [s]: back by hand, all counted; or an automatic restart, half an interval of training
    and the stops for checkpoints, which at Young's interval cost as much again."""
    if by_hand(row):
        asked = normal(row.text("model"))
        hours = [value for name, value in BY_HAND_H.items() if not asked.startswith(name)]
        return 3600.0 * math.fsum(hours) / len(hours)
    state_bytes = BYTES_PER_PARAMETER * _parameters(row, context) / devices
    host = chip.host
    pause_s = state_bytes / ((host.bandwidth_bytes_per_s if host else None) or HOST_BYTES_PER_S)
    return AUTOMATIC_RESTART_S + young_s(pause_s, mtbf_s)


def _parameters(row: Row, context: Context) -> float:
    """Of the model, by name; else as its name says (405B); else 100 billion, which moves the share by less than a point."""
    model = context.model_named(row.text("model"))
    if model is not None:
        return parameters(model)
    sizes = [float(size) for size in re.findall(r"(?<![\d.])(\d{1,15}(?:\.\d{1,15})?)B\b", row.text("model"))]
    return 1e9 * max(sizes, default=100.0)


def _fitted(row: Row, picked: tuple[Fleet, ...]) -> bool:
    """Is the row the very count that its rates come from? The campaign itself has been left out by `chosen`."""
    asked = normal(row.text("model"))
    return any(asked.startswith(normal(fleet.reliability.fleet or "")) for fleet in picked)


def counts_everything(row: Row) -> bool:
    """Does the row count every stop of a job, or failed machines alone? People stop jobs for more than machines where they restart
    them; so do the many jobs of a research fleet. A projection counts machines, and so does a row that says so."""
    notes = row.text("notes").lower()
    if "projected" in notes or re.search(r"(hardware|gpu|node) failures|after automatic", notes):
        return False
    stops = re.search(r"\bmtti\b|interrupt|restarts?\b", notes) and by_hand(row)
    return bool(stops or re.search(r"\bjobs\b", row.text("model").lower()))


def by_hand(row: Row) -> bool:
    """Did people restart the run? As the notes or the id say; unstated: by hand until 2022, automatically since."""
    label, notes = row.text("id").lower(), row.text("notes").lower().replace("interventions by hand", "")
    if label.endswith(("-manual", "-auto")):
        return label.endswith("-manual")
    if re.search(r"after automatic|automatic(ally)? restart|restart(ed|s)? automatic|automatic recover", notes):
        return False
    if re.search(r"by hand|manual", notes):
        return True
    return (row.count("year") or BY_HAND_UNTIL + 1) <= BY_HAND_UNTIL
