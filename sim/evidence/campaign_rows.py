"""Rows of published training campaigns -> time between failures and productive share, from the failure rates of the catalogue.

Closed form: components fail independently, so rates add; each interruption costs the time to come back, lost work included
(Young, 1974, with the checkpoint interval folded into that time).
"""

from __future__ import annotations

import re

from ..catalog.clusters import Cluster
from .context import Context
from .predictions import Answer, Predictions, Progress, predict_rows
from .tables import Row, Skip, Table

PER_NODE = ("node", "software", "hang")  # components of which a node has one; of the others each chip has one
# An interruption of Llama 3 405B cost at most 0.1 x 54 days / 466, with the work lost (devices/clusters/grand-teton-24k.yaml).
AUTOMATIC_RESTART_S = 1000.0
# By hand, the same fleet lost 0.285 instead of 0.012 of its productive time: HLAT on Trainium, 77.83 against 98.81% uptime
# (https://www.glennklockwood.com/garden/job-reliability). Campaigns before automatic restart restarted by hand.
BY_HAND_FACTOR = 23.6
BY_HAND_UNTIL = 2022


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Productive share of the time and mean time between failures [h] of every campaign."""
    return predict_rows(table, lambda row: _answer(row, context), progress)


def _answer(row: Row, context: Context) -> Answer:
    chip = context.chip(row.text("device"))
    devices = row.need("num_devices")
    cluster = _cluster(context, chip.id)
    if cluster is None or cluster.reliability is None:
        raise Skip(f"no cluster of the catalogue states failure rates of {chip.id}")
    rate = failures_per_s(cluster, devices)
    restart_s = cluster.reliability.mttr_s or AUTOMATIC_RESTART_S
    if by_hand(row):
        restart_s *= BY_HAND_FACTOR
    known = "known already" in row.text("notes").lower()  # the catalogue's rates come from this very campaign
    return Answer(
        {"planned_or_effective_fraction": 1.0 / (1.0 + rate * restart_s), "mtbf_h": 1.0 / rate / 3600.0},
        "measured" if known else "extrapolated",
    )


def _cluster(context: Context, chip: str) -> Cluster | None:
    """The first cluster of the catalogue with this chip and failure rates."""
    for entry in context.library.entries("cluster"):
        cluster = context.library.cluster(entry.id)
        if cluster.chip == chip and cluster.reliability is not None and cluster.reliability.mtbf_s:
            return cluster
    return None


def failures_per_s(cluster: Cluster, devices: int) -> float:
    """Interruptions a second of a job on so many chips; a node is whole or not used."""
    nodes = -(-devices // cluster.chips_per_node)
    reliability = cluster.reliability.mtbf_s if cluster.reliability is not None else {}
    return sum((nodes if part in PER_NODE else devices) / mtbf_s for part, mtbf_s in reliability.items())


def by_hand(row: Row) -> bool:
    """Did people restart the run? As the notes say; unstated: by hand until 2022, automatically since."""
    notes = row.text("notes").lower()
    if re.search(r"automatic(ally)? restart|after automatic", notes):
        return False
    if re.search(r"by hand|manual", notes) and "interventions by hand" not in notes:
        return True
    return (row.count("year") or BY_HAND_UNTIL + 1) <= BY_HAND_UNTIL
