"""The bill of a usage: money, energy, carbon, each with where its rate came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..catalog.clusters import Cluster
from ..catalog.library import Library
from ..catalog.prices import price_of
from ..catalog.scenarios import Economy
from ..catalog.targets import Target
from ..errors import UnknownFigure
from ..result import Figure, total
from .carbon import embodied_kg, location_intensity, market_intensity
from .ownership import Site, spot_factor, usd_per_hour

JOULES_PER_KWH = 3.6e6


class Bill(NamedTuple):
    """What something costs: money, energy at the meter of the site, carbon; and where each rate came from."""

    usd: Figure
    usd_electricity: Figure | None
    kwh: Figure
    kg_co2: Figure
    kg_co2_market: Figure
    kg_co2_embodied: Figure
    usd_per_device_hour: Figure
    power_w: Figure


class Usage(NamedTuple):
    """chips in use, chips paid for, seconds, and what one chip draws on average [W]; `basis` of the seconds.

    spread: the least and the most of the seconds, as shares of them; money, energy and carbon take it over.
    """

    devices: int
    paid: int
    seconds: float
    chip_w: float
    basis: str
    spread: tuple[float, float] = (1.0, 1.0)

    def figure(self, value: float, unit: str, note: str = "") -> Figure:
        """Something that grows with the seconds."""
        if self.spread == (1.0, 1.0):
            return Figure(value, unit, basis=self.basis, note=note)
        return Figure(value, unit, value * self.spread[0], value * self.spread[1], self.basis, note)


def spread_of(figure: Figure | None) -> tuple[float, float]:
    """Ends of a figure's interval as shares of it; (1, 1) for none."""
    if figure is None or not figure.value or figure.low is None or figure.high is None:
        return 1.0, 1.0
    return figure.low / figure.value, figure.high / figure.value


def bill(library: Library, target: Target, usage: Usage, economy: Economy) -> Bill:
    """Money, energy and carbon of a usage. An unknown rate makes its figure unknown and stops no other."""
    rate = device_hour(library, target, economy, usage)
    usd = Figure.unknown("usd", rate.note)
    if rate.value is not None:
        usd = usage.figure(rate.value * usage.paid * usage.seconds / 3600.0, "usd", rate.note)
    power = site_power(target, usage, economy)
    kwh = Figure.unknown("kwh", power.note)
    electricity = None if economy.usd_per_kwh is None else Figure.unknown("usd", power.note)
    if power.value is not None:
        energy = power.value * usage.seconds / JOULES_PER_KWH
        kwh = usage.figure(energy, "kwh", power.note)
        if economy.usd_per_kwh is not None:
            note = f"{economy.usd_per_kwh:g} USD a kWh; rented chips include it in their price"
            electricity = usage.figure(energy * economy.usd_per_kwh, "usd", note)
    return Bill(
        usd, electricity, kwh,
        _emitted(usage, kwh, location_intensity(target, economy, usage.seconds)),
        _emitted(usage, kwh, market_intensity(economy)),
        embodied_kg(target, economy, usage.paid * usage.seconds),
        rate, power,
    )  # fmt: skip


def bill_figures(library: Library, target: Target, usage: Usage, economy: Economy) -> dict[str, Figure]:
    """The bill as figures of a result: device_hours, cost, energy, carbon, power while the chips are paid for, rates."""
    billed = bill(library, target, usage, economy)
    figures = {
        "device_hours": usage.figure(usage.devices * usage.seconds / 3600.0, "h"),
        "cost": billed.usd,
        "usd_per_device_hour": billed.usd_per_device_hour,
        "energy": billed.kwh,
        "carbon": billed.kg_co2,
        "carbon_market": billed.kg_co2_market,
        "carbon_embodied": billed.kg_co2_embodied,
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


def _emitted(usage: Usage, kwh: Figure, intensity: Figure) -> Figure:
    """Carbon of an energy at an intensity; unknown if either is."""
    if intensity.value is None or kwh.value is None:
        return Figure.unknown("kg", intensity.note if intensity.value is None else kwh.note)
    return usage.figure(kwh.value * intensity.value, "kg", f"{intensity.value:g} kg CO2 a kWh, {intensity.note}")


def device_hour(library: Library, target: Target, economy: Economy, usage: Usage) -> Figure:
    """Dollars for one chip and hour: the scenario's, else what owning it costs by the scenario's terms, else the cheapest offer of
    the term and region; on spot with the hours that interruptions waste."""
    if economy.usd_per_device_hour is not None:
        return Figure(economy.usd_per_device_hour, "usd_per_device_hour", basis="measured", note="as given")
    if economy.owned is not None and economy.term in (None, "owned"):
        return _owned(target, economy, usage)
    try:
        offer = price_of(library, target.chip.id, economy.term, economy.region)
    except UnknownFigure as unknown:
        return Figure.unknown("usd_per_device_hour", str(unknown))
    note = f"{offer.provider} {offer.instance}, {offer.term}, {offer.region}, {offer.date}"
    factor = 1.0
    if offer.term == "spot" and economy.spot_mtbf_s is not None:
        factor = spot_factor(economy.spot_mtbf_s, economy.spot_lost_s)
        note += f"; {factor - 1.0:.1%} more for hours that interruptions waste"
    elif offer.term == "spot":
        note += "; interruptions are not counted: give --spot-mtbf"
    return Figure(offer.usd_per_device_hour * factor, "usd_per_device_hour", basis="measured", note=note)


def _owned(target: Target, economy: Economy, usage: Usage) -> Figure:
    """What an hour of use costs the owner, the electricity of the job in it."""
    terms = economy.owned
    if terms is None or economy.usd_per_kwh is None:
        return Figure.unknown(
            "usd_per_device_hour", "economy.usd_per_kwh is unknown; owning needs it. Give --usd-per-kwh."
        )
    found = site_of(target, economy, usage)
    if found is None:
        return Figure.unknown(
            "usd_per_device_hour", f"chip.power.tdp_w of {target.chip.id} is unknown. Add it to its file."
        )
    note = f"owned, {terms.busy_share:.0%} of all hours in use, discounted at {terms.discount_rate:.1%} a year"
    return Figure(usd_per_hour(terms, found), "usd_per_device_hour", basis="measured", note=note)


def site_of(target: Target, economy: Economy, usage: Usage | None = None) -> Site | None:
    """Power of one chip at the meter: busy as in the usage (at its limit without one), idle, provisioned; None if unknown."""
    chip, tdp = target.chip, target.chip.power.tdp_w
    busy = tdp if usage is None else usage.chip_w
    if busy is None or not math.isfinite(busy):
        return None
    limit = tdp or busy
    idle = chip.power.idle_w or target.family.idle_share * limit
    host, pue = host_share_w(target.cluster, limit) or 0.0, economy.pue or target.cluster.pue
    return Site((busy + host) * pue, (idle + host) * pue, (limit + host) * pue, economy.usd_per_kwh or 0.0)


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
