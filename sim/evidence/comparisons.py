"""How sure a comparison of two answers is: `whatif`'s "A beats B with 87%", from how far measured pairs were off.

What differs between two questions says which pairs speak for it: hardware, those that differ in the device; plan or number of
chips, those of layouts; software, those that differ in the version of the engine too. Prices alone change no time: then the
comparison is arithmetic. Of what no pair was measured for (another model, load, engine setting) the widest spread stands in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ..catalog.files import write_whole
from ..catalog.library import Library
from ..catalog.scenarios import Group, Scenario
from ..catalog.spreads import FILE, Comparisons, Spread, comparisons
from ..result import Figure
from . import odds
from .compared import Compared
from .context import Context
from .pairs import CONTRASTS, DEVICE, LAYOUT, METRICS, TRAINED, VERSION
from .ratios import compared, ratios_of, tables_of_runs

SIZES = 49  # quantiles of a spread
SAME = 1e-9  # ratios nearer to 1 are equal
# figure -> metric whose ratios were measured, and whether more is better
FIGURES: dict[str, dict[str, tuple[str, bool]]] = {
    "serve": {
        "tpot_p50": (METRICS[0], False),
        "ttft_p50": (METRICS[1], False),
        "output_tokens_per_s_per_chip": (METRICS[2], True),
        "usd_per_million_tokens": (METRICS[2], False),
    },
    "train": {"step_time": (TRAINED, False), "cost": (TRAINED, False)},
}
_PRICES = ("economy", "campaign", "slo")
_SITE = ("pue", "grid_kg_per_kwh", "mtbf", "mttr", "host.power", "storage")  # of a cluster: no kernel waits for them


class Odds(NamedTuple):
    """One figure of two sides. chance: that the second is better; differs: whose pairs say so, `prices` where no time moves;
    like: False where no pair of that kind was measured and the widest spread stands in; spread: None for prices."""

    figure: str
    ratio: float
    chance: float
    differs: str
    like: bool
    spread: Spread | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        out = {**self._asdict(), "better": "changed" if self.chance >= 0.5 else "baseline"}
        del out["spread"]
        if self.spread is None:
            return {**out, "pairs": 0}
        point = self.spread.happened(self.chance)
        of = self.spread
        judged = {"pairs": of.pairs, "metric": of.metric, "brier": of.brier, "within": of.within}
        return {**out, **judged, "said_so": None if point is None else point.model_dump()}


def odds_of(
    library: Library, asked: tuple[Scenario, Scenario], before: Mapping[str, Figure], after: Mapping[str, Figure]
) -> tuple[Odds, ...]:
    """The main figures that both sides know and that move. asked: the two questions."""
    role = "train" if asked[0].groups[0].role == "train" else "serve"
    known = comparisons(library)
    kinds = differences(*asked)
    ratios = {name: _ratio(before.get(name), after.get(name)) for name in FIGURES[role]}
    timed = [name for name in FIGURES[role] if name not in ("cost", "usd_per_million_tokens")]
    still = all(abs(ratios[name] - 1.0) < SAME for name in timed if math.isfinite(ratios[name]))
    found = []
    for name, (metric, higher) in FIGURES[role].items():
        ratio = ratios[name]
        if not math.isfinite(ratio) or abs(ratio - 1.0) < SAME:
            continue
        better = math.log(ratio) if higher else -math.log(ratio)
        if still and kinds <= {"prices"}:
            found.append(Odds(name, ratio, 1.0 if better > 0.0 else 0.0, "prices", True, None))
            continue
        chosen, like = _spread(known, role, kinds, metric)
        if chosen is not None:
            sizes = np.array(chosen.sizes)
            found.append(Odds(name, ratio, odds.chance(better, sizes), chosen.differs, like, chosen))
    return tuple(found)


def _ratio(one: Figure | None, other: Figure | None) -> float:
    if one is None or other is None or not one.value or not other.value:
        return math.nan
    return other.value / one.value


def _spread(known: Comparisons, role: str, kinds: set[str], metric: str) -> tuple[Spread | None, bool]:
    """The widest spread of the kinds that differ; of all kinds where one of them was never measured."""
    spreads = {kind: known.of(role, kind, metric) for kind in CONTRASTS}
    wanted = kinds - {"prices"}
    like = bool(wanted) and all(spreads.get(kind) is not None for kind in wanted)
    chosen = [each for kind, each in spreads.items() if each is not None and (kind in wanted or not like)]
    return max(chosen, key=lambda each: float(np.mean(each.sizes)), default=None), like


def differences(one: Scenario, other: Scenario) -> set[str]:
    """Kinds of what differs between two questions: CONTRASTS, `prices`, `other`."""
    out = {"prices" for name in _PRICES if getattr(one, name) != getattr(other, name)}
    out |= {"other" for name in ("demand", "router", "operations") if getattr(one, name) != getattr(other, name)}
    if len(one.groups) != len(other.groups):
        return out | {LAYOUT}
    for pair in zip(one.groups, other.groups, strict=True):
        for name in Group.model_fields:
            values = [getattr(group, name) for group in pair]
            if values[0] != values[1]:
                out.add(_kind(name, set(values[0]) ^ set(values[1]) if name == "cluster_changes" else set()))
    return out


def _kind(field: str, changes: set[str]) -> str:
    """What a field of a group that differs is. changes: of a cluster, those that are not of both sides."""
    if field == "cluster_changes" and all(change.startswith(_SITE) for change in changes):
        return "prices"
    if field in ("cluster", "chip_changes", "cluster_changes", "power_cap_w"):
        return DEVICE
    if field == "stack":
        return VERSION
    return LAYOUT if field in ("devices", "replicas", "plan", "prefill_replicas", "decode_replicas") else "other"


def write_comparisons(root: Path, paths: Sequence[Path], context: Context, command: str) -> list[Spread]:
    """Spreads of the tables of runs, into a catalogue's root. Raises InputError where there is no pair."""
    spreads = []
    for path in paths:
        for table in tables_of_runs(path, context):
            of = compared(table, context)
            role = "train" if table.kind.verb == "training" else "serve"
            judged = ratios_of(table, of).reliability
            spreads += [_measured(role, key, of, judged[key]) for key in judged]
    data = ", ".join(sorted({path.name for path in paths}))
    record = {"data": data, "date": datetime.now(UTC).strftime("%Y-%m-%d"), "command": command}
    document = {**record, "spreads": [each.model_dump(mode="json") for each in spreads]}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)
    write_whole(root.joinpath(*FILE), _HEAD + text)
    return spreads


_HEAD = """# How far predicted ratios of two runs were from measured ones, the new device left out: the odds of `gambrel whatif`.
# Sizes: evenly spaced quantiles of |ln(measured / predicted)| of the ratios, each group of runs weighing the same.
"""


def _measured(role: str, key: tuple[str, str], of: Compared, judged: odds.Reliability) -> Spread:
    contrast, metric = key
    at = [i for i, pair in enumerate(of.pairs) if pair.contrast == contrast]
    residual = (of.ratios[metric].measured - of.ratios[metric].predicted)[at]
    labels = [of.labels[i] for i in at]
    curve = [
        {"low": b.low, "high": b.high, "pairs": b.n, "stated": _short(b.stated), "happened": _short(b.happened)}
        for b in judged.curve
    ]
    return Spread.model_validate(
        {
            "role": role,
            "differs": contrast,
            "metric": metric,
            "pairs": judged.n,
            "groups": len(set(labels)),
            "right": _short(judged.right),
            "brier": _short(judged.brier),
            "within": _short(judged.factor),
            "held": _short(judged.inside),
            "curve": curve,
            "sizes": [_short(each) for each in odds.sizes(residual, labels, SIZES)],
        }
    )


def _short(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")
