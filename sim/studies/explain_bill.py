"""Terms of what a serving run costs: rates, hours, and the draw of chips at work and waiting, down to the catalogue's keys."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..catalog.library import Library
from ..catalog.prices import price_of
from ..catalog.scenarios import Scenario
from ..economics import JOULES_PER_KWH, Usage, device_hour, host_share_w
from ..errors import InputError
from ..serving.answer import Use
from ..serving.setup import Setup
from .terms import Term, constant, given, product, quotient, total


class Group(NamedTuple):
    """One setup of a run. paid: chips paid for; paid_s: seconds of all its replicas; draws: (what, seconds, watts of a rank,
    leaves) of each phase; idle_w: of a rank that waits."""

    setup: Setup
    paid: int
    use: Use
    paid_s: float
    draws: tuple[tuple[str, float, float, tuple[Term, ...]], ...]
    idle_w: float

    @property
    def devices(self) -> int:
        """Chips in use."""
        return self.setup.chips * self.setup.paid_replicas


class Run(NamedTuple):
    """What is billed: the setups, first arrival to last completion [s], and tokens made; price: dollars for a device-hour and
    their source as a result recorded them, None: today's."""

    library: Library
    scenario: Scenario
    groups: tuple[Group, ...]
    seconds: float
    output_tokens: float
    price: tuple[float, str] | None = None


def bill_term(run: Run, name: str) -> Term:
    """The tree of a figure of the bill. Raises InputError where it is unknown, with what is missing."""
    if name == "usd_per_million_tokens":
        return _per_token(run, _together("cost", "usd", [_cost(run, each) for each in run.groups]), name, "usd")
    if name == "joules_per_token":
        joules = _together("energy", "j", [_joules(run, each) for each in run.groups])
        return quotient(name, "j", joules, constant("tokens out", run.output_tokens, "tokens"))
    if name == "usd_per_device_hour" and len(run.groups) > 1:
        hours = total("device_hours", "h", [_hours(each, each.devices, "devices") for each in run.groups])
        return quotient(name, name, total("cost", "usd", [_cost(run, each) for each in run.groups]), hours)
    if name == "carbon":
        return _carbon(run)
    found = [_of_group(run, each, name) for each in run.groups]
    return _together(name, found[0].unit, found)


def _of_group(run: Run, group: Group, name: str) -> Term:
    if name == "device_hours":
        return _hours(group, group.devices, "devices")
    if name == "usd_per_device_hour":
        return _rate(run, group)
    if name == "cost":
        return _cost(run, group)
    return _mean_power(run, group) if name == "power" else _kwh(run, group)


def _together(name: str, unit: str, terms: list[Term]) -> Term:
    return terms[0] if len(terms) == 1 else total(name, unit, terms)


def _per_token(run: Run, whole: Term, name: str, unit: str) -> Term:
    millions = quotient(
        "millions of tokens out", "", constant("tokens out", run.output_tokens, "tokens"), constant("a million", 1e6)
    )
    return quotient(name, unit, whole, millions)


def _hours(group: Group, chips: float, key: str, name: str = "device_hours") -> Term:
    on = quotient(
        "hours paid a replica", "h", constant("seconds paid a replica", group.use.seconds, "s"),
        constant("seconds of an hour", 3600.0, "s"),
    )  # fmt: skip
    return product(name, "h", given(key, chips, "chips"), on)


def _rate(run: Run, group: Group) -> Term:
    economy, target = run.scenario.economy, group.setup.target
    if economy.owned is not None and economy.term in (None, "owned"):
        raise InputError("explain: `gambrel own` takes apart what an hour costs. Give --usd-per-device-hour here.")
    if run.price is not None and economy.usd_per_device_hour is None:
        return given(
            f"price.{target.chip.id}", run.price[0], "usd_per_device_hour", f"devices/prices.csv: {run.price[1]}"
        )
    usage = Usage(group.devices, group.paid, group.use.seconds, group.use.chip_w, group.use.basis)
    found = device_hour(run.library, target, economy, usage)
    if found.value is None:
        raise InputError(f"explain: {found.note}")
    if economy.usd_per_device_hour is not None:
        return given("economy.usd_per_device_hour", found.value, "usd_per_device_hour", "as given")
    offer = price_of(run.library, target.chip.id, economy.term, economy.region)
    source = f"devices/prices.csv: {offer.source}"
    price = given(f"price.{target.chip.id}", offer.usd_per_device_hour, "usd_per_device_hour", source)
    if math.isclose(found.value, offer.usd_per_device_hour, rel_tol=1e-12):
        return price
    wasted = constant("hours that interruptions waste", found.value / offer.usd_per_device_hour)
    return product("usd_per_device_hour", "usd_per_device_hour", price, wasted)


def _cost(run: Run, group: Group) -> Term:
    hours = _hours(group, group.paid, "devices_paid", "device-hours paid")
    return product("cost", "usd", _rate(run, group), hours)


def _joules(run: Run, group: Group) -> Term:
    seconds = constant("seconds paid a replica", group.use.seconds, "s")
    return product("joules", "j", _power(run, group), seconds)


def _kwh(run: Run, group: Group) -> Term:
    return quotient("energy", "kwh", _joules(run, group), constant("joules of a kWh", JOULES_PER_KWH, "j"))


def _mean_power(run: Run, group: Group) -> Term:
    """Over the whole run: what the chips draw while they are paid for, times the share of the run that they are."""
    share = group.use.seconds / (run.seconds or 1.0)
    if math.isclose(share, 1.0):
        return _power(run, group)
    return product("power", "w", _power(run, group), constant("share of the run that is paid for", share))


def _power(run: Run, group: Group) -> Term:
    """At the meter: chips by what they do, spares, hosts; times the facility's overhead."""
    target, economy = group.setup.target, run.scenario.economy
    chip, cluster = target.chip, target.cluster
    if not math.isfinite(group.use.chip_w):
        raise InputError(f"explain: chip.power.tdp_w of {chip.id} is unknown. Add it to the chip's file.")
    tdp = chip.power.tdp_w or group.use.chip_w
    idle = given("chip.power.idle", chip.power.idle_w or target.family.idle_share * tdp, "w", chip.power.source)
    terms = [product("chips at work", "w", given("devices", group.devices, "chips"), _chip(group))]
    if group.paid > group.devices:
        terms.append(product("spares", "w", constant("spare chips", group.paid - group.devices, "chips"), idle))
    host = host_share_w(cluster, tdp)
    if host is not None:
        whole = given("cluster.host.power", host * cluster.chips_per_node, "w", "; ".join(cluster.sources))
        share = Term("host of a chip", host, "w", "function", (whole,), "its share")
        terms.append(product("hosts", "w", given("devices_paid", group.paid, "chips"), share))
    overhead = given("economy.pue", economy.pue, "") if economy.pue else given("cluster.pue", cluster.pue, "")
    return product("power", "w", overhead, total("all draws", "w", terms))


def _chip(group: Group) -> Term:
    """Mean draw of a chip while it is paid for: each phase at the draw of its mean pass, idle between."""
    target = group.setup.target
    tdp = given("chip.power.tdp", target.chip.power.tdp_w or math.nan, "w", target.chip.power.source)
    known = (tdp,) if target.chip.power.tdp_w else ()
    paid = constant("seconds paid", group.paid_s, "s")
    terms = []
    for what, seconds, rank_w, leaves in group.draws:
        share = quotient("share of the time", "fraction", constant(what, seconds, "s"), paid)
        draw = Term(
            "watts of a rank", rank_w, "w", "function", (*known, *leaves), "joules of its mean pass over its time"
        )
        terms.append(product(what, "w", share, draw))
    rest = max(group.paid_s - math.fsum(seconds for _, seconds, _, _ in group.draws), 0.0)
    waits = Term("watts of a waiting rank", group.idle_w, "w", "function", known, "idle power")
    share = quotient("share of the time", "fraction", constant("waiting", rest, "s"), paid)
    terms.append(product("waiting", "w", share, waits))
    return product("watts of a chip", "w", total("rank", "w", terms), constant("ranks of a chip", target.chip.ranks))


def _carbon(run: Run) -> Term:
    economy = run.scenario.economy
    if economy.grid is not None:
        raise InputError("explain: carbon by the hour is not taken apart. Give --kg-co2-per-kwh in place of --grid.")
    terms = []
    for group in run.groups:
        chosen = economy.kg_co2_per_kwh
        intensity = chosen if chosen is not None else group.setup.target.cluster.grid_kg_per_kwh
        if intensity is None:
            raise InputError("explain: the site's kg_co2_per_kwh is unknown. Give --kg-co2-per-kwh.")
        key = "cluster.grid_kg_per_kwh" if chosen is None else "economy.kg_co2_per_kwh"
        terms.append(product("carbon", "kg", _kwh(run, group), given(key, intensity, "kg")))
    return _together("carbon", "kg", terms)
