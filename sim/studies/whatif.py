"""What if: the same question with another value, side by side; which hardware value matters; how much of it until another binds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..catalog.chips import Chip
from ..catalog.clusters import Cluster
from ..catalog.record_changes import numeric_keys
from ..catalog.records import Record
from ..catalog.scenarios import Scenario
from ..errors import Infeasible, InputError
from ..result import Figure, Result
from ..units import split_unit

Evaluate = Callable[[Scenario], Result]
Progress = Callable[[float, str], None]

SAME = 1e-9  # relative: less has not moved
STEP = 1.01  # by which a value is moved to see what follows it
LARGEST = 1024.0  # no hardware value is multiplied by more
# figures by which hardware is judged where none is named, the first that a result has
MAIN = ("step_time", "tpot_p50", "latency_p50", "ttft_p50", "output_tokens_per_s")
_BLOCKS = ("matrix", "vector", "sram", "memory", "host", "power")
_NO_RATE = ("domain",)  # chips of a host: a count, no speed or size
_TIER = ("bandwidth_bytes_per_s", "latency_s", "oversubscription")


class Effect(NamedTuple):
    """One figure on both sides. ratio: changed over baseline; None where a side is unknown or the baseline is 0."""

    name: str
    baseline: Figure | None
    changed: Figure | None
    ratio: float | None


class Swing(NamedTuple):
    """What one hardware value does to a figure: relative change of the figure with the value lowered and raised; elasticity:
    percent of the figure for each percent of the value."""

    key: str
    lowered: float
    raised: float
    elasticity: float


class BreakEven(NamedTuple):
    """factor: by how much a value must grow until `binds_then` moves the figure more than it does; None: not up to LARGEST."""

    key: str
    figure: str
    factor: float | None
    elasticity: float
    binds_then: str


def compare(baseline: Result, changed: Result) -> tuple[Effect, ...]:
    """Every figure of both results, in the order of the baseline."""
    names = [*baseline.figures, *(name for name in changed.figures if name not in baseline.figures)]
    return tuple(_effect(name, baseline.figures.get(name), changed.figures.get(name)) for name in names)


def _effect(name: str, one: Figure | None, other: Figure | None) -> Effect:
    known = one is not None and other is not None and one.value is not None and other.value is not None
    ratio = other.value / one.value if known and one.value else None  # type: ignore[union-attr, operator]
    return Effect(name, one, other, ratio)


def moved(effects: Sequence[Effect]) -> bool:
    """True if any figure differs between the two sides, however little."""
    return any(
        (each.ratio is not None and abs(each.ratio - 1.0) > SAME)
        or (each.ratio is None and _value(each.baseline) != _value(each.changed))
        for each in effects
    )


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value


def main_figure(result: Result, wanted: str | None = None) -> str:
    """The figure that is looked at. Raises InputError for one that the result does not have or does not know."""
    known = [name for name, figure in result.figures.items() if figure.value is not None and figure.value > 0.0]
    if wanted is not None:
        name = wanted.replace("-", "_")
        if name not in known:
            raise InputError(f"--figure = {wanted!r}: the answer has no such figure. Use one of {', '.join(known)}.")
        return name
    return next((name for name in MAIN if name in known), known[0])


def hardware_keys(chip: Chip, cluster: Cluster) -> tuple[str, ...]:
    """Key paths of the hardware values that chip and cluster know, without units: chip.memory.bandwidth, cluster.tiers.0.latency."""
    keys = []
    for block in _BLOCKS:
        record = getattr(chip, block)
        if isinstance(record, Record):
            keys += [
                f"chip.{block}.{_stem(name)}"
                for name in numeric_keys(type(record))
                if getattr(record, name) and name not in _NO_RATE
            ]
    for place, tier in enumerate(cluster.tiers):
        keys += [f"cluster.tiers.{place}.{_stem(name)}" for name in _TIER if getattr(tier, name)]
    return tuple(keys)


def _stem(name: str) -> str:
    split = split_unit(name)
    return split[0] if split else name


def multiplied(scenario: Scenario, key: str, factor: float) -> Scenario:
    """The scenario with a value of the chip, cluster or model multiplied, in every group."""
    head, _, path = key.partition(".")
    field = f"{head}_changes"
    text = f"{path}*={factor!r}"
    groups = tuple(group.with_(**{field: (*getattr(group, field), text)}) for group in scenario.groups)
    return scenario.with_(groups=groups)


def tornado(
    evaluate: Evaluate,
    scenario: Scenario,
    keys: Sequence[str],
    figure: str,
    by: float = 0.1,
    progress: Progress | None = None,
) -> tuple[Swing, ...]:
    """The figure with each value lowered and raised by a share, the widest swing first. A value that cannot be lowered that far
    (the plan no longer fits) swings to infinity.
    """
    base = _of(evaluate, scenario, figure)
    swings = []
    for number, key in enumerate(keys):
        down, up = (_of(evaluate, multiplied(scenario, key, factor), figure) for factor in (1.0 - by, 1.0 + by))
        slope = math.log(up / down) / math.log((1.0 + by) / (1.0 - by)) if math.isfinite(down) else -math.inf
        swings.append(Swing(key, down / base - 1.0, up / base - 1.0, slope))
        if progress is not None:
            progress((number + 1) / len(keys), key)
    return tuple(sorted(swings, key=lambda each: -max(abs(each.lowered), abs(each.raised))))


def _of(evaluate: Evaluate, scenario: Scenario, figure: str) -> float:
    """The figure of a scenario; infinite where it does not fit (an answer that misses an SLO does)."""
    try:
        figures = evaluate(scenario).figures
    except Infeasible:
        return math.inf
    needed, held = (_value(figures.get(name)) for name in ("memory_per_device", "memory_capacity"))
    value = _value(figures.get(figure))
    return math.inf if value is None or (needed is not None and held is not None and needed > held) else value


def elasticity(evaluate: Evaluate, scenario: Scenario, key: str, figure: str) -> float:
    """Percent by which the figure moves for each percent of the value, from one step up."""
    up = _of(evaluate, multiplied(scenario, key, STEP), figure)
    return math.log(up / _of(evaluate, scenario, figure)) / math.log(STEP)


def break_even(
    evaluate: Evaluate, scenario: Scenario, key: str, others: Sequence[str], figure: str, tolerance: float = 0.01
) -> BreakEven:
    """The factor of a hardware value at which another one moves the figure as much: until there it binds, beyond it the other.

    By bisection on the logarithm of the factor, to `tolerance`. factor 1: it does not bind even now. Values that move nothing now
    are not looked at.
    """

    def lead(factor: float) -> tuple[float, str]:
        """How much more than the strongest other one the value moves the figure, and which one that is."""
        at = multiplied(scenario, key, factor)
        own = abs(elasticity(evaluate, at, key, figure))
        strongest = max(((abs(elasticity(evaluate, at, other, figure)), other) for other in others), default=(0.0, ""))
        return own - strongest[0], strongest[1]

    now = elasticity(evaluate, scenario, key, figure)
    others = [other for other in others if abs(elasticity(evaluate, scenario, other, figure)) > SAME]
    low, high = 1.0, 2.0
    ahead, other = lead(low)
    if ahead <= 0.0:
        return BreakEven(key, figure, 1.0, now, other)
    while (found := lead(high))[0] > 0.0:
        low, high = high, high * 2.0
        if high > LARGEST:
            return BreakEven(key, figure, None, now, found[1])
    other = found[1]
    while high / low > 1.0 + tolerance:
        middle = math.sqrt(low * high)
        ahead, strongest = lead(middle)
        if ahead > 0.0:
            low = middle
        else:
            high, other = middle, strongest
    return BreakEven(key, figure, high, now, other)
