"""A fleet to be planned over quarters: demand by region, chips that can be owned or rented, sites, jobs, ceilings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..errors import InputError, did_you_mean
from .files import Document, read_yaml
from .plans import Engine, Plan
from .records import Count, CountOrZero, Identifier, NotNegative, Positive, Record, Share, Text, parse
from .scenarios import Slo, Traffic

HOURS_PER_QUARTER = 8766.0 / 4.0


class Region(Record):
    """A place with demand, or a site, or both. Demand: requests a second at the peak, one value a quarter."""

    id: Identifier
    p50_requests_per_s: tuple[NotNegative, ...] = Field((), description="median path of the peak demand; empty: none")
    p90_requests_per_s: tuple[NotNegative, ...] = Field((), description="high path of the peak demand")
    site_w: NotNegative | None = Field(
        None, description="power that the own site can feed (provisioned); null: no limit"
    )
    pue: Positive = Field(description="facility power over IT power")
    usd_per_kwh: NotNegative
    kg_co2_per_kwh: NotNegative
    round_trip_s: dict[str, float] = Field(
        {}, description="network round trip to other regions that may serve this one"
    )
    distance_m: dict[str, float] = Field(
        {}, description="to those regions, if known: no round trip beats light in glass"
    )


class Offer(Record):
    """One kind of replica. Power counts the hosts' share."""

    id: Identifier
    cluster: Text
    chips: Count = Field(description="of one replica")
    plan: Plan = Plan()
    engine: Engine = Engine()
    stack: Text | None = None
    requests_per_s: Positive | None = Field(
        None, description="that one replica serves within the limits; null: found by simulating it"
    )
    ttft_s: NotNegative | None = Field(
        None, description="that a request sees there without the network; null: simulated"
    )
    provisioned_w: Positive = Field(description="of one replica")
    idle_w: NotNegative = Field(description="of one replica")
    busy_w: Positive = Field(description="of one replica at full load")
    rent_usd_per_device_hour: Positive | None = Field(None, description="null: cannot be rented")
    own_usd_per_device: Positive | None = Field(None, description="null: cannot be bought")
    life_quarters: Count | None = Field(None, description="over which a bought device is written off")
    owned_replicas: dict[str, int] = Field({}, description="by region: there already, paid for")
    stock_chips: dict[str, tuple[int, ...]] = Field(
        {}, description="by region and quarter: orders possible so far, in all"
    )
    rentable_chips: dict[str, tuple[int, ...]] = Field({}, description="by region and quarter: to be had at once")
    regions: tuple[Text, ...] = Field((), description="where it can stand; empty: everywhere")
    minimum_chips: CountOrZero = Field(0, description="of an order, if there is one")
    delivery_quarters: CountOrZero = Field(0, description="from the order to the first request")


class Job(Record):
    """A training job that takes devices away while it runs."""

    id: Identifier
    devices: dict[str, int] = Field(description="by offer: chips that it needs there; it takes one of them")
    first_quarter: CountOrZero
    quarters: Count
    regions: tuple[Text, ...] = ()


class FleetPlan(Record):
    """The question of `gambrel capacity FILE`."""

    model: Text
    quarters: Count
    path: Literal["p50", "p90"] = Field("p90", description="demand that must be met")
    peak_hours_per_day: Positive = Field(24.0, le=24.0)
    off_peak_share: Share = Field(1.0, description="of the peak's demand, in the other hours")
    traffic: Traffic = Field(description="one request: trace, or input_tokens and output_tokens; verifies the plan")
    slo: Slo = Slo()
    regions: tuple[Region, ...] = Field(min_length=1)
    offers: tuple[Offer, ...] = Field(min_length=1)
    jobs: tuple[Job, ...] = ()
    utilisation: Share = Field(
        0.9, gt=0, description="of the most that one replica serves within the limits, that the fleet is planned with"
    )
    spare_replicas: CountOrZero = Field(0, description="of each offer in each region that is used (N + k)")
    api_usd_per_request: Positive | None = Field(None, description="of another provider's service; null: not used")
    carbon_kg_per_quarter: NotNegative | None = None
    budget_usd: Positive | None = None
    discount_per_year: NotNegative = 0.0


def read_fleet_plan(path: Path) -> FleetPlan:
    """Read and check a fleet plan. Raises InputError for unknown regions, offers and paths of the wrong length."""
    document = read_yaml(path)
    plan = parse(FleetPlan, document)
    check(plan, document)
    return plan


def check(plan: FleetPlan, document: Document) -> None:
    """Names that must be known, and one value a quarter."""
    regions, offers = [region.id for region in plan.regions], [offer.id for offer in plan.offers]
    for place, region in enumerate(plan.regions):
        for field in ("p50_requests_per_s", "p90_requests_per_s"):
            _length(document, ("regions", place, field), len(getattr(region, field)), plan.quarters)
        _known(
            document, ("regions", place, "round_trip_s"), [*region.round_trip_s, *region.distance_m], "region", regions
        )
    for place, offer in enumerate(plan.offers):
        named = [*offer.regions, *offer.owned_replicas, *offer.stock_chips, *offer.rentable_chips]
        _known(document, ("offers", place), named, "region", regions)
        for field in ("stock_chips", "rentable_chips"):
            for values in getattr(offer, field).values():
                _length(document, ("offers", place, field), len(values), plan.quarters)
        if offer.own_usd_per_device is not None and offer.life_quarters is None:
            raise InputError(
                f"{document.place(('offers', place))}: {offer.id} can be bought, but life_quarters is missing. Add it."
            )
    for place, job in enumerate(plan.jobs):
        _known(document, ("jobs", place, "devices"), list(job.devices), "offer", offers)
        _known(document, ("jobs", place, "regions"), list(job.regions), "region", regions)


def _length(document: Document, path: tuple[str | int, ...], found: int, quarters: int) -> None:
    if found and found != quarters:
        raise InputError(
            f"{document.place(path)}: {path[-1]} has {found} values for {quarters} quarters. Give one a quarter."
        )


def _known(document: Document, path: tuple[str | int, ...], names: list[str], kind: str, known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{document.place(path)}: {kind} {name!r} is not in the plan. {did_you_mean(name, known)}")
