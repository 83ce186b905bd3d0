"""A fleet plan as an integer program: what is owned, rented, ordered and served, by offer, region, quarter and time of day."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..catalog.fleet_plans import HOURS_PER_QUARTER, FleetPlan, Offer, Region
from ..errors import Infeasible, InputError
from .program import Program, Terms

LIGHT_IN_GLASS_M_PER_S = (
    299_792_458.0 / 1.468
)  # refractive index of single-mode fibre at 1550 nm (Corning SMF-28 data sheet)


class FleetProgram:
    """The program of a fleet plan. relaxed: limits that may be exceeded, each at a cost in shares of what it limits; then
    nothing else costs."""

    def __init__(self, plan: FleetPlan, relaxed: Sequence[str] = (), without: Sequence[str] = ()) -> None:
        self.plan, self.relaxed, self.without = plan, set(relaxed), set(without)
        self.program = Program()
        self.slacks: dict[str, list[tuple[int, float]]] = {}
        self.parts: dict[str, Terms] = {"rent": {}, "buy": {}, "electricity": {}, "api": {}}
        self.carbon: list[Terms] = [{} for _ in range(plan.quarters)]
        self.constant = 0.0  # electricity of what is owned already
        self.kg = [0.0] * plan.quarters
        peak = plan.peak_hours_per_day / 24.0
        self.hours = (HOURS_PER_QUARTER * peak, HOURS_PER_QUARTER * (1.0 - peak))
        self.buy: dict[tuple[str, str, int], int] = {}
        self.rent: dict[tuple[str, str, int, int], int] = {}
        self.load: dict[tuple[str, str, int, int], int] = {}
        self.api: dict[tuple[str, int, int], int] = {}
        self.job: dict[tuple[str, str, str], int] = {}
        self._jobs()
        for quarter in range(plan.quarters):
            for region in plan.regions:
                for offer in plan.offers:
                    if not offer.regions or region.id in offer.regions:
                        self._offer(offer, region, quarter)
            for period in range(2):
                if self.hours[period] > 0.0:
                    self._demand(quarter, period)
        self._stock()
        self._ceilings()
        self._objective()

    def _discount(self, quarter: int) -> float:
        return float((1.0 + self.plan.discount_per_year) ** (-quarter / 4.0))

    def periods(self) -> list[int]:
        return [period for period in range(2) if self.hours[period] > 0.0]

    def _jobs(self) -> None:
        for job in self.plan.jobs:
            choices = {}
            for offer in self.plan.offers:
                for region in self.plan.regions:
                    stands = not offer.regions or region.id in offer.regions
                    if offer.id in job.devices and stands and (not job.regions or region.id in job.regions):
                        choices[(job.id, offer.id, region.id)] = self.program.column(whole=True, upper=1.0)
            self.job |= choices
            self.program.row(dict.fromkeys(choices.values(), 1.0), 1.0, 1.0, f"job {job.id}")

    def _offer(self, offer: Offer, region: Region, quarter: int) -> None:
        """What is held of an offer in a region and quarter, and what that can serve."""
        here, program, plan = (offer.id, region.id, quarter), self.program, self.plan
        if offer.own_usd_per_device is not None and quarter + offer.delivery_quarters < plan.quarters:
            self.buy[here] = program.column(whole=True)
            kept = min(plan.quarters - quarter - offer.delivery_quarters, offer.life_quarters or 1)
            written_off = offer.own_usd_per_device * offer.chips * kept / (offer.life_quarters or 1)
            self.parts["buy"][self.buy[here]] = written_off * self._discount(quarter)
            if offer.minimum_chips:
                self._minimum(offer, self.buy[here])
        owned = self.owned(offer, region.id, quarter)
        there = float(offer.owned_replicas.get(region.id, 0))
        used = program.column(whole=True, upper=1.0) if plan.spare_replicas else None
        for period in self.periods():
            held, rented = dict(owned), None
            if offer.rent_usd_per_device_hour is not None:
                most = offer.rentable_chips.get(region.id)
                # off peak, when demand moves, the mean of what is rented by the hour need not be whole
                rent = program.column(whole=period == 0, upper=np.inf if most is None else most[quarter] // offer.chips)
                self.rent[(*here, period)] = rent
                price = offer.rent_usd_per_device_hour * offer.chips * self.hours[period]
                self.parts["rent"][rent] = price * self._discount(quarter)
                held[rent] = 1.0
            load = self.load[(*here, period)] = program.column()
            rate = rate_of(offer)
            if (*here, period) in self.rent:
                rented = program.column()
                program.row({rented: 1.0, self.rent[(*here, period)]: -rate}, -np.inf, 0.0, "capacity")
                program.row({rented: 1.0, load: -1.0}, -np.inf, 0.0, "capacity")
            terms = {load: 1.0, **{column: -rate * n for column, n in held.items()}}
            for (name, own, place), column in self.job.items():
                job = next(each for each in plan.jobs if each.id == name)
                if (own, place) == here[:2] and job.first_quarter <= quarter < job.first_quarter + job.quarters:
                    terms[column] = rate * -(-job.devices[own] // offer.chips)
            if used is not None:
                terms[used] = rate * plan.spare_replicas
                program.row({load: 1.0, used: -self._most(quarter, region.id, period)}, -np.inf, 0.0, "spares")
            program.row(terms, -np.inf, rate * there, "capacity")
            self._energy((offer, region), (quarter, period), held, (load, rented))

    def _minimum(self, offer: Offer, buy: int) -> None:
        """An order is none, or at least the minimum."""
        least = float(-(-offer.minimum_chips // offer.chips))
        ordered = self.program.column(whole=True, upper=1.0)
        self._limit({buy: 1.0, ordered: -least}, ("minimum purchase", 0.0), at_least=True, size=least)
        self.program.row({buy: 1.0, ordered: -self._largest(offer)}, -np.inf, 0.0, "order")

    def _largest(self, offer: Offer) -> float:
        """Replicas that nobody would exceed: all demand of the worst quarter on this offer, spares, jobs and the minimum."""
        worst = max(self._most(quarter) for quarter in range(self.plan.quarters))
        jobs = sum(-(-job.devices.get(offer.id, 0) // offer.chips) for job in self.plan.jobs)
        return worst / rate_of(offer) + self.plan.spare_replicas + jobs + 1.0 + -(-offer.minimum_chips // offer.chips)

    def _most(self, quarter: int, where: str | None = None, period: int = 0) -> float:
        """All demand of a quarter, or what of it can be served in a region."""
        near = [r for r in self.plan.regions if where is None or where in reachable(self.plan, r)]
        return math.fsum(demand(self.plan, region, quarter, period) for region in near)

    def owned(self, offer: Offer, region: str, quarter: int) -> Terms:
        """Delivered orders (what was owned before is a constant)."""
        last = quarter - offer.delivery_quarters
        return {self.buy[key]: 1.0 for q in range(last + 1) if (key := (offer.id, region, q)) in self.buy}

    def _energy(
        self, where: tuple[Offer, Region], when: tuple[int, int], held: Terms, loads: tuple[int, int | None]
    ) -> None:
        """Energy and its carbon: idle power of all that is held, and what load adds. The power of rented chips is in their price."""
        (offer, region), (quarter, period), (load, rented) = where, when, loads
        kwh = self.hours[period] / 1000.0 * region.pue
        discount = self._discount(quarter)
        own = self.owned(offer, region.id, quarter)
        there = offer.owned_replicas.get(region.id, 0)
        for column, n in held.items():
            self.carbon[quarter][column] = (
                self.carbon[quarter].get(column, 0.0) + n * kwh * offer.idle_w * region.kg_co2_per_kwh
            )
        for column, n in own.items():
            paid = self.parts["electricity"]
            paid[column] = paid.get(column, 0.0) + n * kwh * offer.idle_w * region.usd_per_kwh * discount
        extra = kwh * max(offer.busy_w - offer.idle_w, 0.0) / rate_of(offer)
        self.carbon[quarter][load] = extra * region.kg_co2_per_kwh
        self.parts["electricity"][load] = extra * region.usd_per_kwh * discount
        if rented is not None:
            self.parts["electricity"][rented] = -extra * region.usd_per_kwh * discount
        self.constant += there * kwh * offer.idle_w * region.usd_per_kwh * discount
        self.kg[quarter] += there * kwh * offer.idle_w * region.kg_co2_per_kwh

    def _demand(self, quarter: int, period: int) -> None:
        """Each region's demand goes to a region near enough, or to another provider."""
        plan, program = self.plan, self.program
        arriving: dict[str, Terms] = {region.id: {} for region in plan.regions}
        for region in plan.regions:
            wanted = demand(plan, region, quarter, period)
            leaving: Terms = {}
            for other in reachable(plan, region):
                flow = program.column()
                leaving[flow] = arriving[other][flow] = 1.0
            if plan.api_usd_per_request is not None:
                bought = self.api[(region.id, quarter, period)] = program.column()
                seconds = self.hours[period] * 3600.0
                self.parts["api"][bought] = plan.api_usd_per_request * seconds * self._discount(quarter)
                leaving[bought] = 1.0
            self._limit(leaving, ("demand", wanted), at_least=True, size=wanted)
        for region in plan.regions:
            served = {
                self.load[key]: 1.0
                for offer in plan.offers
                if (key := (offer.id, region.id, quarter, period)) in self.load
            }
            program.row({**served, **dict.fromkeys(arriving[region.id], -1.0)}, 0.0, 0.0, "balance")

    def _stock(self) -> None:
        for offer in self.plan.offers:
            for region, most in offer.stock_chips.items():
                for quarter in range(self.plan.quarters):
                    keys = [(offer.id, region, q) for q in range(quarter + 1)]
                    terms = {self.buy[key]: float(offer.chips) for key in keys if key in self.buy}
                    if terms:
                        self._limit(terms, (f"stock of {offer.id} in {region}", float(most[quarter])))

    def _ceilings(self) -> None:
        plan = self.plan
        for quarter in range(plan.quarters):
            for region in plan.regions:
                if region.site_w is None:
                    continue
                terms: Terms = {}
                there = 0.0
                for offer in plan.offers:
                    watts = offer.provisioned_w * region.pue
                    terms |= {column: n * watts for column, n in self.owned(offer, region.id, quarter).items()}
                    there += offer.owned_replicas.get(region.id, 0) * watts
                self._limit(terms, (f"power of {region.id}", region.site_w), less=there)
            if plan.carbon_kg_per_quarter is not None:
                self._limit(self.carbon[quarter], ("carbon", plan.carbon_kg_per_quarter), less=self.kg[quarter])
        if plan.budget_usd is not None:
            self._limit(self._spent(), ("budget", plan.budget_usd), less=self.constant)

    def _spent(self) -> Terms:
        out: Terms = {}
        for terms in self.parts.values():
            for column, usd in terms.items():
                out[column] = out.get(column, 0.0) + usd
        return out

    def _limit(
        self,
        terms: Terms,
        named: tuple[str, float],
        at_least: bool = False,
        less: float = 0.0,
        size: float | None = None,
    ) -> None:
        """terms <= value - less (or >=); a slack where the limit may be exceeded; left out where it is lifted."""
        limit, value = named
        if limit in self.without:
            return
        if limit in self.relaxed:
            slack = self.program.column()
            terms = {**terms, slack: 1.0 if at_least else -1.0}
            self.slacks.setdefault(limit, []).append((slack, max(abs(value if size is None else size), 1e-9)))
        right = value - less
        self.program.row(terms, right if at_least else -np.inf, np.inf if at_least else right, limit)

    def _objective(self) -> None:
        if self.relaxed:
            for slacks in self.slacks.values():
                for column, size in slacks:
                    self.program.cost[column] = 1.0 / size
            return
        for column, usd in self._spent().items():
            self.program.cost[column] = usd


def rate_of(offer: Offer) -> float:
    """Requests a second of a replica. Raises InputError if nobody has filled it in."""
    if offer.requests_per_s is None:
        raise InputError(f"offers: requests_per_s of {offer.id} is missing. Add it, or fill it in by `sized`.")
    return offer.requests_per_s


def demand(plan: FleetPlan, region: Region, quarter: int, period: int) -> float:
    """Requests a second of a region: the path that is planned for, and the share of it off peak."""
    path = getattr(region, f"{plan.path}_requests_per_s")
    value = path[quarter] if path else 0.0
    return float(value * (1.0 if period == 0 else plan.off_peak_share))


def reachable(plan: FleetPlan, region: Region) -> list[str]:
    """Regions that may serve a region's demand: itself, and those whose round trip leaves the SLO's TTFT room.

    Raises Infeasible for a round trip that is shorter than light takes."""
    out = [region.id]
    fastest = min(offer.ttft_s or 0.0 for offer in plan.offers)
    for other, seconds in region.round_trip_s.items():
        light_s = 2.0 * region.distance_m.get(other, 0.0) / LIGHT_IN_GLASS_M_PER_S
        if seconds < light_s:
            raise Infeasible(
                f"capacity: {region.id} -> {other} in {seconds * 1e3:.3g} ms: light in glass takes {light_s * 1e3:.3g} ms there and "
                f"back. Correct round_trip or distance."
            )
        if plan.slo.ttft_s is None or fastest + seconds < plan.slo.ttft_s:
            out.append(other)
    return out
