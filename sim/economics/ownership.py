"""Owning against renting, in closed form. Source: the annuity and net-present-value formulas of any textbook of finance."""

from __future__ import annotations

from typing import NamedTuple

from ..catalog.ownership import Owned
from ..errors import InputError

HOURS_A_YEAR = 8766.0


class Site(NamedTuple):
    """What a chip draws at the meter (PUE and its host's share in it) and what a kWh costs there.

    busy_w, idle_w: draws [W]. provisioned_w: what the site must be able to feed [W].
    """

    busy_w: float
    idle_w: float
    provisioned_w: float
    usd_per_kwh: float


class Yearly(NamedTuple):
    """What one chip in use costs a year [USD], spares included; `of_use` only in hours of use."""

    capital: float
    staff: float
    maintenance: float
    space: float
    idle_electricity: float
    of_use: float

    @property
    def fixed(self) -> float:
        """Whatever the use."""
        return self.capital + self.staff + self.maintenance + self.space + self.idle_electricity


def annuity(rate: float, years: float) -> float:
    """Present value of one dollar at the end of each year; whole years and broken ones by the same formula."""
    return years if rate == 0.0 else float((1.0 - (1.0 + rate) ** -years) / rate)


def yearly(owned: Owned, site: Site) -> Yearly:
    """Equal yearly amounts whose present value is that of all payments over the life.

    of_use: dollars a year that use in every hour adds to idling.
    """
    bought = owned.purchase_usd * (1.0 + owned.spare_share)
    returned = bought * owned.residual_share * (1.0 + owned.discount_rate) ** -owned.life_years
    kwh = HOURS_A_YEAR / 1000.0 * site.usd_per_kwh
    return Yearly(
        capital=(bought - returned) / annuity(owned.discount_rate, owned.life_years),
        staff=owned.staff_usd_per_year,
        maintenance=bought * owned.maintenance_share,
        space=12.0 * owned.space_usd_per_kw_month * site.provisioned_w / 1000.0,
        idle_electricity=site.idle_w * kwh,
        of_use=(site.busy_w - site.idle_w) * kwh,
    )


def usd_per_hour(owned: Owned, site: Site, busy_share: float | None = None) -> float:
    """Dollars for an hour of use, at a share of hours in use (the terms' own if not given). Raises InputError for none."""
    share = owned.busy_share if busy_share is None else busy_share
    if not 0.0 < share <= 1.0:
        raise InputError(f"busy_share = {share:g} is not above 0 and at most 1. Write a share of all hours.")
    parts = yearly(owned, site)
    return (parts.fixed / share + parts.of_use) / HOURS_A_YEAR


def present_value(owned: Owned, site: Site, busy_share: float | None = None) -> float:
    """Everything paid over the life less what the sale brings, as money of today [USD]."""
    share = owned.busy_share if busy_share is None else busy_share
    parts = yearly(owned, site)
    bought = owned.purchase_usd * (1.0 + owned.spare_share)
    sale = bought * owned.residual_share * (1.0 + owned.discount_rate) ** -owned.life_years
    running = parts.fixed - parts.capital + share * parts.of_use
    return float(bought - sale + running * annuity(owned.discount_rate, owned.life_years))


def break_even_share(owned: Owned, site: Site, rent_usd_per_hour: float) -> float | None:
    """Share of hours in use from which owning costs less than renting just these hours; None: never, at most all hours are.

    From fixed + share x of_use = share x rent x hours of a year.
    """
    parts = yearly(owned, site)
    saved = rent_usd_per_hour * HOURS_A_YEAR - parts.of_use
    if saved <= 0.0 or parts.fixed > saved:
        return None
    return parts.fixed / saved


def book_values(owned: Owned) -> list[float]:
    """Value in the books at the end of each year, straight-line down to the residual [USD]; the last at the end of life."""
    lost = owned.purchase_usd * (1.0 - owned.residual_share)
    ends = [float(year) for year in range(1, int(owned.life_years) + 1)]
    if not ends or ends[-1] < owned.life_years:
        ends.append(owned.life_years)
    return [owned.purchase_usd - lost * end / owned.life_years for end in ends]


def spot_factor(mtbf_s: float, lost_s: float) -> float:
    """Hours paid for an hour of work when a node is taken every `mtbf_s` and each time `lost_s` of work and restart are paid
    again: 1 / (1 - lost / mtbf). Raises InputError if more is lost than done."""
    if lost_s >= mtbf_s:
        raise InputError(f"spot_lost = {lost_s:g} s is not below spot_mtbf = {mtbf_s:g} s. Save more often.")
    return 1.0 / (1.0 - lost_s / mtbf_s)
