"""Result x prices -> money, energy, carbon. What is not published is unknown, named, and never zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .catalog.clusters import Cluster
from .catalog.library import Library
from .catalog.prices import price_of
from .catalog.scenarios import Economy
from .catalog.targets import Target
from .errors import UnknownFigure
from .result import Figure, total

JOULES_PER_KWH = 3.6e6


class Bill(NamedTuple):
    """What something costs: money, energy at the meter of the site, carbon; and where each rate came from."""

    usd: Figure
    usd_electricity: Figure | None
    kwh: Figure
    kg_co2: Figure
    usd_per_device_hour: Figure
    power_w: Figure


class Usage(NamedTuple):
    """chips in use, chips paid for, seconds, and what one chip draws on average [W]; `basis` of the seconds."""

    devices: int
    paid: int
    seconds: float
    chip_w: float
    basis: str


def bill(library: Library, target: Target, usage: Usage, economy: Economy) -> Bill:
    """Money, energy and carbon of a usage. An unknown rate makes its figure unknown and stops no other."""
    rate = device_hour(library, target, economy)
    usd = Figure.unknown("usd", rate.note)
    if rate.value is not None:
        usd = Figure(rate.value * usage.paid * usage.seconds / 3600.0, "usd", basis=usage.basis, note=rate.note)
    power = site_power(target, usage, economy)
    kwh, carbon = Figure.unknown("kwh", power.note), Figure.unknown("kg", power.note)
    electricity = None if economy.usd_per_kwh is None else Figure.unknown("usd", power.note)
    if power.value is not None:
        energy = power.value * usage.seconds / JOULES_PER_KWH
        kwh = Figure(energy, "kwh", basis=usage.basis, note=power.note)
        if economy.usd_per_kwh is not None:
            note = f"{economy.usd_per_kwh:g} USD a kWh; rented chips include it in their price"
            electricity = Figure(energy * economy.usd_per_kwh, "usd", basis=usage.basis, note=note)
        intensity = economy.kg_co2_per_kwh if economy.kg_co2_per_kwh is not None else target.cluster.grid_kg_per_kwh
        carbon = Figure.unknown("kg", "the site's kg_co2_per_kwh is unknown. Give --kg-co2-per-kwh.")
        if intensity is not None:
            carbon = Figure(
                energy * intensity, "kg", basis=usage.basis, note=f"{intensity:g} kg CO2 a kWh, location-based"
            )
    return Bill(usd, electricity, kwh, carbon, rate, power)


def bill_figures(library: Library, target: Target, usage: Usage, economy: Economy) -> dict[str, Figure]:
    """The bill as figures of a result: device_hours, cost, energy, carbon, power while the chips are paid for, rates."""
    billed = bill(library, target, usage, economy)
    figures = {
        "device_hours": Figure(usage.devices * usage.seconds / 3600.0, "h", basis=usage.basis),
        "cost": billed.usd,
        "usd_per_device_hour": billed.usd_per_device_hour,
        "energy": billed.kwh,
        "carbon": billed.kg_co2,
        "power": billed.power_w,
    }
    if billed.usd_electricity is not None:
        figures["electricity_cost"] = billed.usd_electricity
    return figures


def together(bills: Sequence[dict[str, Figure]], shares: Sequence[float]) -> dict[str, Figure]:
    """Bills of several groups as one. shares: of the run that each group's chips are paid for on average; power is the mean
    over the run."""
    parts = [dict(billed) for billed in bills]
    for billed, share in zip(parts, shares, strict=True):
        if billed["power"].value is not None and not math.isclose(share, 1.0):
            billed["power"] = billed["power"].scaled(share, "w")
    out = {name: total([billed[name] for billed in parts]) for name in parts[0]}
    hours, usd = out["device_hours"].value, out["cost"].value
    if len(bills) > 1 and hours and usd is not None:
        out["usd_per_device_hour"] = Figure(
            usd / hours, "usd_per_device_hour", basis="measured", note="mean of the groups"
        )
    return out


def device_hour(library: Library, target: Target, economy: Economy) -> Figure:
    """Dollars for one chip and hour: the scenario's, else the cheapest offer of the term."""
    if economy.usd_per_device_hour is not None:
        return Figure(economy.usd_per_device_hour, "usd_per_device_hour", basis="measured", note="as given")
    try:
        offer = price_of(library, target.chip.id, economy.term)
    except UnknownFigure as unknown:
        return Figure.unknown("usd_per_device_hour", str(unknown))
    note = f"{offer.provider} {offer.instance}, {offer.term}, {offer.region}, {offer.date}"
    return Figure(offer.usd_per_device_hour, "usd_per_device_hour", basis="measured", note=note)


def site_power(target: Target, usage: Usage, economy: Economy) -> Figure:
    """Average draw of the job at the site's meter [W]: chips, their hosts and the facility's overhead.

    Spares idle. A host whose power nobody published is left out, and the note says so.
    """
    if not math.isfinite(usage.chip_w):
        return Figure.unknown("w", f"chip.power.tdp_w of {target.chip.id} is unknown. Add it to the chip's file.")
    cluster, chip = target.cluster, target.chip
    tdp = chip.power.tdp_w or usage.chip_w
    idle = chip.power.idle_w or target.family.idle_share * tdp
    host = host_share_w(cluster, tdp)
    chips = usage.devices * usage.chip_w + (usage.paid - usage.devices) * idle
    pue = economy.pue or cluster.pue
    note = f"PUE {pue:g}" + ("" if host is not None else "; chips only: host.power_w of the cluster is unknown")
    return Figure((chips + usage.paid * (host or 0.0)) * pue, "w", basis=usage.basis, note=note)


def host_share_w(cluster: Cluster, tdp_w: float) -> float | None:
    """A chip's share of its host's power; None if unknown."""
    if cluster.host.power_w is not None:
        return cluster.host.power_w / cluster.chips_per_node
    if cluster.server_w is not None:
        return max(cluster.server_w / cluster.chips_per_node - tdp_w, 0.0)
    return None
