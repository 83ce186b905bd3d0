"""`own`: what a chip costs its owner for an hour of use, and from which use on that beats renting it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Infeasible
from .command import command
from .output import Call, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.ownership import Owned
    from ..catalog.scenarios import Economy
    from ..economics.ownership import Site

SCHEMA = "gambrel.own/1"


@command()
def own(
    call: Call,
    chip: Annotated[str, typer.Argument(metavar="CHIP", help="A chip or cluster of the catalogue.")],
    terms: Annotated[Path, typer.Argument(metavar="TERMS", help="A YAML file: gambrel schema owned.")],
    usd_per_kwh: Annotated[
        float, typer.Option("--usd-per-kwh", metavar="X", help="Price of electricity.", show_default=False)
    ],
    pue: Annotated[
        float | None, typer.Option("--pue", metavar="X", help="None: the cluster's.", show_default=False)
    ] = None,
    rent: Annotated[
        float | None, typer.Option("--rent", metavar="USD", help="Rent of an hour; none: the catalogue's.")
    ] = None,
    term: Annotated[str | None, typer.Option("--term", metavar="NAME", help="Of the catalogue's rent.")] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="NAME", help="Of the catalogue's rent.")] = None,
) -> None:
    """Own or rent."""
    from ..catalog.ownership import Owned
    from ..catalog.prices import price_of
    from ..catalog.records import read
    from ..catalog.scenarios import Economy
    from ..catalog.targets import target
    from ..economics.bill import site_of

    owned = read(Owned, terms)
    found = target(call.library(), chip, None, "serve")
    economy = _checked(Economy, {"usd_per_kwh": usd_per_kwh, "pue": pue, "usd_per_device_hour": rent})
    site = site_of(found, economy)
    if site is None:
        raise Infeasible(f"chip.power.tdp_w of {found.chip.id} is unknown. Add it to the chip's file.")
    named = "as given"
    if rent is None:
        offer = price_of(call.library(), found.chip.id, term, region)
        rent, named = offer.usd_per_device_hour, f"{offer.provider}, {offer.term}, {offer.region}, {offer.date}"
    document = _document(found.chip.id, owned, site, rent, named)
    emit(call, document, _screen(document))


def _checked(kind: type[Economy], values: dict[str, float | None]) -> Economy:
    from ..catalog.files import Document
    from ..catalog.records import parse

    return parse(kind, Document({key: value for key, value in values.items() if value is not None}, {}, "command line"))


def _document(chip: str, owned: Owned, site: Site, rent: float, named: str) -> dict[str, Any]:
    from ..economics.ownership import book_values, break_even_share, present_value, usd_per_hour, yearly

    parts = yearly(owned, site)
    return {
        "schema": SCHEMA,
        "chip": chip,
        "terms": owned.model_dump(mode="json"),
        "site": site._asdict(),
        "rent_usd_per_hour": rent,
        "rent": named,
        "owned_usd_per_hour": usd_per_hour(owned, site),
        "yearly_usd": {**parts._asdict(), "of_use": parts.of_use * owned.busy_share},
        "break_even_busy_share": break_even_share(owned, site, rent),
        "present_value_usd": present_value(owned, site),
        "book_values_usd": book_values(owned),
    }


def _screen(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns
    from ..units import text

    share, used = document["break_even_busy_share"], document["terms"]["busy_share"]
    when = (
        "never: the rent is below what owning costs in full use"
        if share is None
        else f"from {share:.0%} of all hours on"
    )
    better = share is not None and used >= share
    verdict = (
        f"{document['chip']}: {'own' if better else 'rent'} it. Owned ${document['owned_usd_per_hour']:.2f} an hour of use, rented "
        f"${document['rent_usd_per_hour']:.2f} ({document['rent']}), at {used:.0%} of all hours. Owning pays {when}."
    )
    grid = columns("a year, one chip", ">USD")
    for name, value in document["yearly_usd"].items():
        grid.add_row({"of_use": "electricity of use"}.get(name, name.replace("_", " ")), f"{value:,.0f}")
    books = ", ".join(f"{value:,.0f}" for value in document["book_values_usd"])
    end = Text(
        f"present value of all payments  {text(document['present_value_usd'], 'usd')}\nin the books at each year's end  {books}"
    )
    return Group(Text(verdict, style="bold"), grid, end)
