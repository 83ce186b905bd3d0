"""`capacity`: one of size, demand and latency is free and solved for; a file of offers and regions is planned over quarters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .command import command
from .options import scenario_from
from .output import Call, emit
from .runs import Changes, Flags, _path

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.fleet_plans import FleetPlan
    from ..catalog.scenarios import Scenario
    from ..studies.capacity import Given, Solved, Verified
    from ..studies.fleet_plan import Planned

_DEMANDS = ("rate", "concurrency", "trace", "generator")
PANEL = "How large, how many"

Users = Annotated[
    float | None,
    typer.Option("--users", metavar="N", help="People who ask, with --requests-per-hour.", rich_help_panel=PANEL),
]
PerHour = Annotated[
    float | None, typer.Option("--requests-per-hour", metavar="X", help="Requests of one user.", rich_help_panel=PANEL)
]
Power = Annotated[
    float | None, typer.Option("--site-power", metavar="W", help="Power that the site can feed.", rich_help_panel=PANEL)
]
Budget = Annotated[
    float | None, typer.Option("--budget", metavar="USD", help="Dollars an hour for devices.", rich_help_panel=PANEL)
]
Free = Annotated[
    str | None,
    typer.Option("--free", metavar="NAME", help="devices | power | budget | demand | latency.", rich_help_panel=PANEL),
]


@command("serve")
def capacity(
    call: Call,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="A scenario, or a fleet plan (regions, offers).", show_default=False),
    ] = None,
    changes: Changes = None,
    users: Users = None,
    requests_per_hour: PerHour = None,
    site_power: Power = None,
    budget: Budget = None,
    free: Free = None,
    *,
    flags: Flags,
) -> int:
    """Solve for what is free."""
    path = _plan_path(file)
    if path is not None:
        return _fleet(call, path)
    from .. import api
    from ..studies.capacity import FREE, Given, solve

    if free is not None and free not in FREE:
        raise InputError(f"--free = {free!r} is not known. Use {', '.join(FREE)}.")
    flags, demanded = _demand(flags, users, requests_per_hour, file)
    scenario = scenario_from("serve", _path(call, file), flags, call.seed, changes or ())
    if len(scenario.groups) != 1 or scenario.groups[0].role != "serve":
        raise InputError(
            "capacity: the scenario has several groups or roles. Keep one of role serve, or write a fleet plan."
        )
    group, devices = scenario.groups[0], scenario.groups[0].devices
    if group.replicas is not None:
        raise InputError(
            "capacity: replicas are what is counted. Give --devices, --site-power or --budget, or leave it free."
        )
    given = Given(scenario, devices, site_power, budget, free)
    library = call.library()
    solved = solve(given, library, lambda asked: api.serve(asked, library), demanded)
    emit(call, _document(solved), _screen(given, solved))
    return 0 if solved.result.fits else 1


def _plan_path(file: str | None) -> Path | None:
    """The path of a fleet plan: a file with offers, or the id of one that is shipped; None: something else."""
    from ..catalog.files import read_yaml
    from ..catalog.library import package_root

    if file is None:
        return None
    shipped = package_root() / "workloads" / "fleets" / f"{file}.yaml"
    if os.path.isfile(shipped):
        return shipped
    path = Path(file)
    if path.suffix not in (".yaml", ".yml") or not os.path.isfile(path):
        return None
    data = read_yaml(path).data
    return path if isinstance(data, dict) and "offers" in data else None


def _demand(flags: Flags, users: float | None, per_hour: float | None, file: str | None) -> tuple[Flags, bool]:
    """The flags with users as a rate, and whether a demand is given; a free one starts from one request a second."""
    if (users is None) != (per_hour is None):
        raise InputError("capacity: --users and --requests-per-hour go together. Give both.")
    if users is not None and per_hour is not None:
        if users <= 0 or per_hour <= 0:
            raise InputError(f"--users {users:g}, --requests-per-hour {per_hour:g}: both must be positive. Mend them.")
        return {**flags, "rate": repr(users * per_hour / 3600.0)}, True
    if file is not None or any(name in flags for name in _DEMANDS):
        return flags, True
    return {**flags, "rate": "1"}, False


def _document(solved: Solved) -> dict[str, Any]:
    return {
        "schema": "gambrel.capacity/1",
        "free": solved.free,
        "value": solved.value,
        "unit": solved.unit,
        "replicas": solved.replicas,
        "devices": solved.replicas * solved.replica.chips,
        "provisioned_w": _times(solved.replica.power_w, solved.replicas),
        "usd_per_h": _times(solved.replica.usd_per_h, solved.replicas),
        "misses_at": None if solved.missed is None else solved.missed[0],
        "simulations": solved.tried,
        "result": solved.result.to_dict(),
    }


def _times(value: float | None, count: int) -> float | None:
    return None if value is None else value * count


def _screen(given: Given, solved: Solved) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..catalog.scenarios import Scenario
    from ..report.commands import command as typed
    from ..report.tables import figure_table, key_figures
    from ..units import text as shown

    group = solved.result.scenario["groups"][0]
    said = {
        "devices": "{v:,.0f} chips", "power": "{v:,.0f} W", "budget": "${v:,.2f} an hour", "demand": "{v:,.3g} " + solved.unit,
    }.get(solved.free)  # fmt: skip
    value = shown(solved.value, "s") + " TTFT p95" if said is None else said.format(v=solved.value)
    power, usd = _times(solved.replica.power_w, solved.replicas), _times(solved.replica.usd_per_h, solved.replicas)
    size = f"{solved.replicas:,} x {solved.replica.chips} {group['cluster']}"
    size += "" if power is None else f", {shown(power, 'w')} provisioned"
    size += "" if usd is None else f", ${usd:,.2f} an hour"
    parts: list[RenderableType] = [
        Text(f"{solved.free}: {value}   ({size})", style="bold"),
        Text(solved.result.verdict),
        figure_table(key_figures(solved.result.figures)),
        Text(f"why      {solved.result.why}"),
    ]
    if solved.missed is not None:
        at, missed = solved.missed
        named = f"{at:,.0f} replicas" if solved.free not in ("demand",) else f"{at:.3g} times the demand given"
        parts.append(Text(f"binds    {_misses(given.scenario, missed)} with {named}"))
    asked = Scenario.model_validate(solved.result.scenario)
    parts.append(Text(f"\n{solved.tried} simulations.  next: {typed('serve', asked)}"))
    return Group(*parts)


def _misses(scenario: Scenario, missed: Any) -> str:
    """Which limits the nearest miss breaks."""
    from ..units import text as shown

    out = []
    for name in ("ttft", "tpot", "latency"):
        limit, figure = getattr(scenario.slo, f"{name}_s"), missed.figures.get(f"{name}_p95")
        if limit is not None and figure is not None and figure.value is not None and figure.value > limit:
            out.append(f"{name.upper()} p95 {shown(figure.value, 's')} against {shown(limit, 's')}")
    return " and ".join(out) or "the share of requests within all limits"


def _fleet(call: Call, path: Path) -> int:
    """Plan a fleet, then serve what it says."""
    from .. import api
    from ..catalog.fleet_plans import read_fleet_plan
    from ..studies.capacity import proven, sized

    library = call.library()

    def evaluate(asked: Scenario) -> Any:
        return api.serve(asked, library)

    plan = read_fleet_plan(path)
    plan = sized(plan, evaluate)
    planned, checks = proven(plan, evaluate)
    less = _shrunk(plan, planned)
    document = {**_fleet_document(planned, checks), "shrunk": less}
    emit(call, document, _fleet_screen(planned, checks, less))
    return 0 if all(each.meets for each in checks) else 1


def _shrunk(plan: FleetPlan, planned: Planned) -> dict[str, float]:
    """Offers whose replicas are planned to serve less than at first, since a simulation missed the limits: share that is left."""
    before = {offer.id: offer.requests_per_s or 0.0 for offer in plan.offers}
    after = {offer.id: offer.requests_per_s or 0.0 for offer in planned.plan.offers}
    return {name: after[name] / rate for name, rate in before.items() if rate and after[name] < rate}


def _fleet_document(planned: Planned, checks: tuple[Verified, ...]) -> dict[str, Any]:
    return {
        "schema": "gambrel.fleet/1",
        "plan": planned.plan.model_dump(mode="json"),
        "gap": 0.0,
        "holdings": [each._asdict() for each in planned.holdings],
        "api": [{"quarter": q, "region": region, "requests_per_s": rate} for (q, region), rate in planned.api.items()],
        "jobs": [dict(zip(("job", "offer", "region"), each, strict=True)) for each in planned.jobs],
        "usd": {**{name: float(value) for name, value in planned.bill.usd.items()}, "total": float(planned.bill.total_usd)},
        "kg_co2_by_quarter": [float(kg) for kg in planned.bill.kg_co2],
        "binds": planned.tight,
        "verified": [
            {**each._asdict(), "result": each.result.to_dict()} for each in checks
        ],
    }  # fmt: skip


def _fleet_screen(planned: Planned, checks: tuple[Verified, ...], less: dict[str, float]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    bill, plan = planned.bill, planned.plan
    costs = ", ".join(f"{name} ${value:,.0f}" for name, value in bill.usd.items() if value >= 0.5)
    kept = sum(each.meets for each in checks)
    parts: list[RenderableType] = [
        Text(
            f"The cheapest fleet over {plan.quarters} quarters: ${bill.total_usd:,.0f} (proven optimum, gap 0).",
            style="bold",
        ),
        Text(f"{costs}; {sum(bill.kg_co2) / 1e3:,.0f} t CO2; demand: {plan.path}.\n"),
        _offers(plan),
        Text(""),
        _holdings(planned),
    ]
    parts += [Text(f"job {job}: on {offer} in {region}") for job, offer, region in planned.jobs]
    for (quarter, region), rate in planned.api.items():
        parts.append(Text(f"other provider: {rate:.3g} requests/s of {region} in quarter {quarter + 1}"))
    parts.append(
        Text(f"\nverified by simulation: {kept} of {len(checks)} offers keep the limits where they are busiest")
    )
    parts += _less(less)
    for each in checks:
        ttft = each.result.figures.get("ttft_p95")
        late = "" if ttft is None or ttft.value is None else f", TTFT p95 {ttft.value * 1e3:,.0f} ms"
        where = f"{each.offer} in {each.region}, quarter {each.quarter + 1}: {each.replicas} replicas serve {each.requests_per_s:.4g}/s"
        parts.append(Text(f"  {where}{late}, {'kept' if each.meets else 'missed'}"))
    parts += [
        Text(f"binds    {name}: without it the fleet costs about ${usd:,.0f} less")
        for name, usd in planned.tight.items()
    ]
    parts.append(
        Text(
            "\nnext: change a limit in the file and run it again; gambrel search serve --clusters ... for other replicas"
        )
    )
    return Group(*parts)


def _less(less: dict[str, float]) -> list[RenderableType]:
    """A line for each offer whose replicas are planned to serve less than at first."""
    from rich.text import Text

    said = "of what it did: more missed the limits"
    return [Text(f"  a replica of {name} is planned to serve {share:.0%} {said}") for name, share in less.items()]


def _offers(plan: FleetPlan) -> RenderableType:
    from ..report.tables import columns

    table = columns("offer", ">chips a replica", ">requests/s a replica", ">rent $/h a chip", ">buy $ a chip")
    for offer in plan.offers:
        rent = "" if offer.rent_usd_per_device_hour is None else f"{offer.rent_usd_per_device_hour:.2f}"
        own = "" if offer.own_usd_per_device is None else f"{offer.own_usd_per_device:,.0f}"
        table.add_row(offer.id, f"{offer.chips}", f"{offer.requests_per_s:.3g}", rent, own)
    return table


def _holdings(planned: Planned) -> RenderableType:
    """Replicas by region and offer, a column a quarter: owned + rented at the peak."""
    from ..report.tables import columns

    plan = planned.plan
    table = columns(
        "region", "offer", *(f">Q{quarter + 1}" for quarter in range(plan.quarters)), "owned+rented replicas"
    )
    for region in plan.regions:
        for offer in plan.offers:
            held = {
                each.quarter: each for each in planned.holdings if (each.region, each.offer) == (region.id, offer.id)
            }
            if held:
                cells = [f"{held[q].owned}+{held[q].rented_peak}" if q in held else "" for q in range(plan.quarters)]
                ordered = [f"{each.ordered} in Q{q + 1}" for q, each in held.items() if each.ordered]
                table.add_row(region.id, offer.id, *cells, f"ordered {', '.join(ordered)}" if ordered else "")
    return table
