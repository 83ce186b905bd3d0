"""Of devices (or power, or money), demand and latency two are given: the third, by bisection over simulations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..catalog.fleet_plans import FleetPlan, Offer
from ..catalog.library import Library
from ..catalog.scenarios import Group, Scenario, Slo, Traffic
from ..catalog.targets import adjusted, target
from ..economics import device_hour
from ..economics.bill import host_share_w
from ..errors import Infeasible, InputError, UnknownFigure
from ..result import Result
from ..units import text
from .fleet_plan import Planned, plan_fleet
from .fleet_program import rate_of, reachable
from .search_serve import full_hour

Evaluate = Callable[[Scenario], Result]
LIMITS = ("ttft", "tpot", "latency")
SIZES = ("devices", "power", "budget")
FREE = (*SIZES, "demand", "latency")
MOST_REPLICAS = 4096
CLOSE = 0.01  # relative width at which a bisection of demand stops
SPAN_S, FEWEST, MOST = (
    60.0,
    1000,
    50_000,
)  # an open loop lasts so long: shorter, and no queue forms; requests at least, at most


class Given(NamedTuple):
    """The question: a scenario of one group, and how large the fleet may be: chips, provisioned watts of the site, dollars an hour."""

    scenario: Scenario
    devices: int | None = None
    power_w: float | None = None
    budget_usd_per_h: float | None = None
    free: str | None = None


class Replica(NamedTuple):
    """What one replica takes: chips, provisioned watts at the site's meter, dollars an hour; None where unknown."""

    chips: int
    power_w: float | None
    usd_per_h: float | None


class Solved(NamedTuple):
    """The answer: which quantity was free, its value and unit, the replicas and the simulation that it rests on; missed: the
    nearest that was tried and keeps the limits no longer, with its result (None: there is none)."""

    free: str
    value: float
    unit: str
    replicas: int
    replica: Replica
    result: Result
    missed: tuple[float, Result] | None
    tried: int


class _Runs:
    """Simulations of the scenario at other sizes and demands, counted."""

    def __init__(self, scenario: Scenario, evaluate: Evaluate) -> None:
        self.scenario, self.evaluate, self.tried = scenario, evaluate, 0

    def at(self, replicas: int, scale: float = 1.0) -> Result:
        """With so many replicas and `scale` times the demand."""
        self.tried += 1
        group = self.scenario.groups[0].with_(replicas=replicas, devices=None)
        return self.evaluate(self.scenario.with_(groups=(group,), demand=demand_of(self.scenario, scale)))

    def alone(self) -> Result:
        """One request at a time: no fleet is faster."""
        self.tried += 1
        group = self.scenario.groups[0].with_(replicas=1, devices=None)
        traffic = _traffic(self.scenario)
        if traffic.input_tokens is None or traffic.output_tokens is None:
            return self.evaluate(self.scenario.with_(groups=(group,), demand=traffic.with_(requests=1)))
        one = traffic.with_(rate_requests_per_s=None, concurrency=1, requests=4, gap_variation=1.0)
        return self.evaluate(self.scenario.with_(groups=(group,), demand=one))


def _traffic(scenario: Scenario) -> Traffic:
    if not isinstance(scenario.demand, Traffic):
        raise InputError(
            "capacity: no traffic. Give --trace FILE, or --rate, --users or --concurrency with token counts."
        )
    return scenario.demand


def demand_of(scenario: Scenario, scale: float) -> Traffic:
    """The demand, `scale` times as much: an open loop faster and long enough to queue, a closed one with more clients."""
    traffic = _traffic(scenario)
    if traffic.concurrency is not None:
        return traffic.with_(concurrency=max(1, round(traffic.concurrency * scale)))
    if traffic.rate_requests_per_s is None:
        return traffic.with_(scale_rate=traffic.scale_rate * scale)
    rate = traffic.rate_requests_per_s * scale
    requests = traffic.requests or min(max(math.ceil(rate * SPAN_S), FEWEST), MOST)
    return traffic.with_(rate_requests_per_s=rate, requests=requests)


def free_of(given: Given, demanded: bool) -> str:
    """The one quantity that is not given. Raises InputError unless exactly one of size, demand and latency is free."""
    size = any(value is not None for value in (given.devices, given.power_w, given.budget_usd_per_h))
    shaped = demanded and given.free != "demand"  # a trace then says what is asked, not how much
    limited = any(getattr(given.scenario.slo, f"{name}_s") is not None for name in LIMITS)
    open_ones = [name for name, known in (("devices", size), ("demand", shaped), ("latency", limited)) if not known]
    if len(open_ones) != 1:
        what = "nothing is free" if not open_ones else f"{' and '.join(open_ones)} are free"
        raise InputError(
            f"capacity: {what}. Give two of: how large (--devices, --site-power or --budget), demand (--rate, --users, "
            "--concurrency or --trace), limits (--ttft, --tpot, --latency)."
        )
    found = open_ones[0]
    if given.free is None or given.free == found or (found == "devices" and given.free in SIZES):
        return given.free or found
    raise InputError(
        f"--free = {given.free}, but what is not given is {found}. Drop --free, or give {found} and not {given.free}."
    )


def replica_of(scenario: Scenario, library: Library) -> Replica:
    """What one replica of the scenario's group takes."""
    group = scenario.groups[0]
    where = adjusted(target(library, group.cluster, group.stack, "serve"), group)
    plan = group.plan
    chips = -(-plan.tp * plan.pp * plan.cp * plan.attention_dp // where.chip.ranks)
    tdp = group.power_cap_w or where.chip.power.tdp_w
    power = None
    if tdp is not None:
        power = chips * (tdp + (host_share_w(where.cluster, tdp) or 0.0)) * (scenario.economy.pue or where.cluster.pue)
    price = device_hour(library, where, scenario.economy, full_hour(where)).value
    return Replica(chips, power, None if price is None else price * chips)


def solve(given: Given, library: Library, evaluate: Evaluate, demanded: bool = True) -> Solved:
    """The free quantity. Raises InputError unless exactly one is free, Infeasible where no fleet keeps the limits."""
    free = free_of(given, demanded)
    runs, replica = _Runs(given.scenario, evaluate), replica_of(given.scenario, library)
    if free != "latency":
        _check_alone(runs, given.scenario.slo)
    if free in SIZES:
        count, result, missed = _least(runs)
        value, unit = _size(free, count, replica)
        return Solved(free, value, unit, count, replica, result, missed, runs.tried)
    count = most_replicas(given, replica)
    if free == "latency":
        result = runs.at(count)
        figure = result.figures.get("ttft_p95") or result.figures["latency_p95"]
        return Solved(free, figure.value or math.nan, "s", count, replica, result, None, runs.tried)
    scale, result, missed = most_demand(runs, count)
    traffic = _traffic(given.scenario)
    if traffic.concurrency is not None:
        return Solved(free, round(traffic.concurrency * scale), "clients", count, replica, result, missed, runs.tried)
    rate = (
        scale * traffic.rate_requests_per_s if traffic.rate_requests_per_s else result.figures["requests_per_s"].value
    )
    return Solved(free, rate or math.nan, "requests_per_s", count, replica, result, missed, runs.tried)


def _check_alone(runs: _Runs, slo: Slo) -> None:
    """Raises Infeasible if a request that has a replica to itself is too slow."""
    alone = runs.alone()
    for name in LIMITS:
        limit, figure = getattr(slo, f"{name}_s"), alone.figures.get(f"{name}_p50")
        if limit is not None and figure is not None and figure.value is not None and figure.value > limit:
            raise Infeasible(
                f"capacity: --{name} {text(limit, 's')} cannot be kept: a request that has a replica to itself sees "
                f"{text(figure.value, 's')}. Allow that, or take more tp or another chip."
            )


def _least(runs: _Runs) -> tuple[int, Result, tuple[float, Result] | None]:
    """The fewest replicas that keep the limits: doubled, then bisected; one fewer misses them."""
    low, high = 0, 1
    missed: tuple[float, Result] | None = None
    result = runs.at(high)
    while not result.fits:
        missed, low, high = (high, result), high, 2 * high
        if high > MOST_REPLICAS:
            raise Infeasible(
                f"capacity: {low:,} replicas do not keep the limits either: {result.verdict} Loosen a limit, or spread the arrivals."
            )
        result = runs.at(high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = runs.at(middle)
        if tried.fits:
            high, result = middle, tried
        else:
            low, missed = middle, (middle, tried)
    return high, result, missed


def most_demand(runs: _Runs, replicas: int) -> tuple[float, Result, tuple[float, Result]]:
    """The largest multiple of the demand that so many replicas serve within the limits."""
    low, high = 0.0, 1.0
    best: Result | None = None
    tried = runs.at(replicas, high)
    while tried.fits and high < 2.0**40:
        low, high, best = high, 2.0 * high, tried
        tried = runs.at(replicas, high)
    missed = (high, tried)
    if best is None:
        low = high
        while best is None:
            low /= 2.0
            if low < 1e-6:
                raise Infeasible(f"capacity: not even a millionth of the demand keeps the limits: {tried.verdict}")
            tried = runs.at(replicas, low)
            best = tried if tried.fits else None
            missed = missed if tried.fits else (low, tried)
        high = missed[0]
    while high / low > 1.0 + CLOSE:
        middle = math.sqrt(low * high)
        tried = runs.at(replicas, middle)
        if tried.fits:
            low, best = middle, tried
        else:
            high, missed = middle, (middle, tried)
    return low, best, missed


def most_replicas(given: Given, replica: Replica) -> int:
    """That the size allows. Raises Infeasible if not one, UnknownFigure where it hangs on an unknown power or price."""
    counts = {}
    if given.devices is not None:
        counts[f"--devices {given.devices}"] = given.devices // replica.chips
    for label, most, each, key in (
        ("--site-power", given.power_w, replica.power_w, "chip.power.tdp_w"),
        ("--budget", given.budget_usd_per_h, replica.usd_per_h, "usd_per_device_hour"),
    ):
        if most is not None:
            if each is None:
                raise UnknownFigure(key, f"{label} needs it. Give --usd-per-device-hour, or add it to the catalogue.")
            counts[f"{label} {most:g}"] = int(most / each + 1e-9)
    label, count = min(counts.items(), key=lambda item: item[1])
    if count < 1:
        raise Infeasible(
            f"capacity: {label} holds no replica: one takes {_takes(replica)}. Give more, or a smaller plan."
        )
    return count


def _takes(replica: Replica) -> str:
    power = "" if replica.power_w is None else f", {text(replica.power_w, 'w')}"
    price = "" if replica.usd_per_h is None else f", ${replica.usd_per_h:.2f} an hour"
    return f"{replica.chips} chips{power}{price}"


def _size(free: str, count: int, replica: Replica) -> tuple[float, str]:
    if free == "devices":
        return count * replica.chips, "chips"
    each = replica.power_w if free == "power" else replica.usd_per_h
    if each is None:
        raise UnknownFigure("chip.power.tdp_w" if free == "power" else "usd_per_device_hour")
    return count * each, "w" if free == "power" else "usd_per_h"


def scenario_of(plan: FleetPlan, offer: Offer, rate: float, replicas: int = 1) -> Scenario:
    """Replicas of an offer under so many of the plan's requests a second; the network's share of the TTFT is taken off."""
    shared: dict[str, Any] = {"plan": offer.plan, "engine": offer.engine, "stack": offer.stack, "replicas": replicas}
    group = Group(role="serve", model=plan.model, cluster=offer.cluster, **shared)
    slo = plan.slo if plan.slo.ttft_s is None else plan.slo.with_(ttft_s=plan.slo.ttft_s - farthest_s(plan))
    return Scenario(groups=(group,), demand=plan.traffic.with_(rate_requests_per_s=rate), slo=slo)


def farthest_s(plan: FleetPlan) -> float:
    """The longest round trip to a region that may serve another one [s]: no replica may use that part of the TTFT's limit."""
    trips = [
        region.round_trip_s[other] for region in plan.regions for other in reachable(plan, region) if other != region.id
    ]
    return max(trips, default=0.0)


def sized(plan: FleetPlan, evaluate: Evaluate) -> FleetPlan:
    """The plan with what a replica serves, and how soon, filled in by simulation where an offer does not say."""
    offers = []
    for offer in plan.offers:
        if offer.requests_per_s is not None:
            offers.append(offer)
            continue
        runs = _Runs(scenario_of(plan, offer, 1.0), evaluate)
        _check_alone(runs, plan.slo)
        scale, result, _ = most_demand(runs, 1)
        ttft = result.figures["ttft_p50"].value if offer.ttft_s is None else offer.ttft_s
        offers.append(offer.with_(requests_per_s=scale * plan.utilisation, ttft_s=ttft))
    return plan.with_(offers=tuple(offers))


ROUNDS, LESS = 4, 0.9  # plans that are tried anew, and what a replica that misses is planned to serve then


class Verified(NamedTuple):
    """The busiest holding of an offer, simulated: replicas without spares, requests a second, whether the limits are kept."""

    offer: str
    region: str
    quarter: int
    replicas: int
    requests_per_s: float
    meets: bool
    result: Result


def verified(planned: Planned, evaluate: Evaluate) -> tuple[Verified, ...]:
    """Each offer where its replicas are busiest, served by simulation."""
    plan = planned.plan
    out = []
    for offer in plan.offers:
        used = [each for each in planned.holdings if each.offer == offer.id and each.peak_requests_per_s > 1e-9]
        if not used:
            continue
        busiest = max(used, key=lambda each: each.peak_requests_per_s / (each.owned + each.rented_peak))
        needed = math.ceil(busiest.peak_requests_per_s / rate_of(offer) - 1e-6)
        result = _Runs(scenario_of(plan, offer, busiest.peak_requests_per_s), evaluate).at(max(1, needed))
        out.append(
            Verified(offer.id, busiest.region, busiest.quarter, max(1, needed), busiest.peak_requests_per_s, bool(result.fits), result)
        )  # fmt: skip
    return tuple(out)


def proven(plan: FleetPlan, evaluate: Evaluate) -> tuple[Planned, tuple[Verified, ...]]:
    """The cheapest fleet that keeps the limits in simulation: where an offer misses them, its replicas are planned to serve less.

    After ROUNDS, or where no fleet is left, the last plan stands as it is, with what it misses."""
    planned, checks = _tried(plan, evaluate)
    for _ in range(ROUNDS):
        late = {each.offer for each in checks if not each.meets}
        if not late:
            break
        plan = plan.with_(
            offers=tuple(
                offer.with_(requests_per_s=rate_of(offer) * LESS) if offer.id in late else offer
                for offer in plan.offers
            )
        )
        try:
            planned, checks = _tried(plan, evaluate)
        except Infeasible:
            break
    return planned, checks


def _tried(plan: FleetPlan, evaluate: Evaluate) -> tuple[Planned, tuple[Verified, ...]]:
    planned = plan_fleet(plan)
    return planned, verified(planned, evaluate)
