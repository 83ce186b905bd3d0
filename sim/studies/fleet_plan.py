"""Which replicas to own, rent or leave to another provider, where and when, at least cost; what binds; what would relax it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..catalog.fleet_plans import FleetPlan
from ..errors import Infeasible
from .fleet_program import FleetProgram
from .program import FloatArray


class Holding(NamedTuple):
    """Replicas of an offer in a region and quarter: owned in all, ordered now, rented at peak and off it, and the load at peak."""

    quarter: int
    region: str
    offer: str
    owned: int
    ordered: int
    rented_peak: int
    rented_off_peak: float
    peak_requests_per_s: float


class Bill(NamedTuple):
    """Discounted dollars of the plan by cause, and carbon by quarter."""

    usd: dict[str, float]
    kg_co2: tuple[float, ...]

    @property
    def total_usd(self) -> float:
        return math.fsum(self.usd.values())


@dataclass(frozen=True)
class Planned:
    """The cheapest fleet. api: requests a second at peak that go to another provider, by quarter and region; jobs: (job, offer,
    region); tight: limits that cost something, with what the continuous relaxation of the plan would save without them [USD]."""

    plan: FleetPlan
    holdings: tuple[Holding, ...]
    api: dict[tuple[int, str], float]
    jobs: tuple[tuple[str, str, str], ...]
    bill: Bill
    tight: dict[str, float]


def _check_light(plan: FleetPlan) -> None:
    """A limit that no replica can keep, however near."""
    fastest = min(plan.offers, key=lambda offer: offer.ttft_s or 0.0)
    if plan.slo.ttft_s is not None and fastest.ttft_s is not None and fastest.ttft_s > plan.slo.ttft_s:
        raise Infeasible(
            f"capacity: slo.ttft = {plan.slo.ttft_s * 1e3:.3g} ms, but the fastest offer, {fastest.id}, takes "
            f"{fastest.ttft_s * 1e3:.3g} ms without any network. Allow at least that."
        )


def plan_fleet(plan: FleetPlan) -> Planned:
    """The cheapest fleet that keeps every limit, proven. Raises Infeasible with the limits that bind and the least relaxation."""
    _check_light(plan)
    built = FleetProgram(plan)
    found = built.program.solve()
    if found is None:
        raise Infeasible("capacity: no fleet keeps every limit. " + " ".join(relaxations(plan)))
    usd = {
        name: math.fsum(cost * found[column] for column, cost in terms.items()) for name, terms in built.parts.items()
    }
    usd["electricity"] += built.constant
    kg = tuple(
        built.kg[quarter] + math.fsum(each * found[column] for column, each in terms.items())
        for quarter, terms in enumerate(built.carbon)
    )
    bill = Bill(usd, kg)
    jobs = tuple(key for key, column in built.job.items() if found[column] > 0.5)
    api = {
        (quarter, region): float(found[column])
        for (region, quarter, period), column in built.api.items()
        if period == 0 and found[column] > 1e-9
    }
    return Planned(plan, _holdings(built, found), api, jobs, bill, _tight(plan))


def _holdings(built: FleetProgram, found: FloatArray) -> tuple[Holding, ...]:
    def count(table: dict[tuple[str, str, int, int], int], key: tuple[str, str, int], period: int) -> float:
        return float(found[table[(*key, period)]]) if (*key, period) in table else 0.0

    out = []
    for quarter in range(built.plan.quarters):
        for region in built.plan.regions:
            for offer in built.plan.offers:
                key = (offer.id, region.id, quarter)
                if (*key, built.periods()[0]) not in built.load:
                    continue
                bought = math.fsum(found[column] for column in built.owned(offer, region.id, quarter))
                owned = offer.owned_replicas.get(region.id, 0) + round(bought)
                ordered = round(found[built.buy[key]]) if key in built.buy else 0
                rented = [count(built.rent, key, period) for period in range(2)]
                if owned or ordered or max(rented) > 1e-6:
                    load = float(found[built.load[(*key, 0)]])
                    out.append(Holding(quarter, region.id, offer.id, owned, ordered, round(rented[0]), rented[1], load))
    return tuple(out)


def limits(plan: FleetPlan) -> list[str]:
    """Names of the limits that could be relaxed, in the order of the rows."""
    named = dict.fromkeys(FleetProgram(plan).program.limits)
    return [
        name for name in named if name not in ("capacity", "balance", "spares", "order") and not name.startswith("job ")
    ]


def relaxations(plan: FleetPlan) -> list[str]:
    """For each limit, by how much it alone must give way; where none alone suffices, the least of all together."""
    names = limits(plan)
    alone = [
        (math.fsum(amounts.values()), name, amounts) for name in names if (amounts := _least(plan, [name])) is not None
    ]
    if alone:
        return [_said(name, amounts) for _, name, amounts in sorted(alone, key=lambda each: each[0])]
    together = _least(plan, names)
    if together is None:
        return ["Even without limits it cannot be done: a job or a region has no offer. Add one."]
    return [
        "No single limit suffices; together: "
        + " ".join(_said(name, {name: share}) for name, share in together.items())
    ]


def _said(name: str, amounts: dict[str, float]) -> str:
    share = amounts[name]
    return (
        f"{name} would have to give {share:.1%} of itself."
        if share < 10.0
        else f"{name} would have to give {share:.0f} times itself."
    )


def _least(plan: FleetPlan, names: Sequence[str]) -> dict[str, float] | None:
    """The largest share by which each of these limits is exceeded when the sum of shares is least; None: not enough."""
    built = FleetProgram(plan, relaxed=names)
    found = built.program.solve(gap=0.01)
    if found is None:
        return None
    shares = {
        name: max(float(found[column]) / size for column, size in slacks) for name, slacks in built.slacks.items()
    }
    return {name: share for name, share in shares.items() if share > 1e-7}


def _tight(plan: FleetPlan) -> dict[str, float]:
    """What each limit costs: dollars that the continuous relaxation of the plan saves without it."""

    def relaxed(without: Sequence[str]) -> float | None:
        built = FleetProgram(plan, without=without)
        found = built.program.solve(whole=False)
        return None if found is None else float(np.dot(built.program.cost, found)) + built.constant

    base = relaxed(())
    saved = {}
    for name in limits(plan):
        without = None if name == "demand" else relaxed([name])
        if base is not None and without is not None and base - without > 1e-6 * max(base, 1.0):
            saved[name] = base - without
    return dict(sorted(saved.items(), key=lambda item: -item[1]))
