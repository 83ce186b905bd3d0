"""`lifetime`: the size and the tokens that cost least over training and serving, at the loss of a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import Infeasible, InputError
from .command import command
from .output import Call, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..result import Figure
    from ..studies.lifetime import Life, Rates

SCHEMA = "gambrel.lifetime/1"
TOKENS_A_PARAMETER = 20.0  # arXiv:2203.15556, table 3
EXA = 1e18
MULTIPLES = (0.0, 0.1, 1.0, 10.0, 100.0)


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


class Priced(NamedTuple):
    """Rates, their unit, and their figures: dollars an EFLOP of training, dollars a million served tokens of the model."""

    rates: Rates
    unit: str
    figures: dict[str, Figure]


@command()
def lifetime(
    call: Call,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model whose loss is kept.")],
    served: Annotated[float, _option("--served", "TOKENS", "Tokens read and written over the life.")],
    tokens: Annotated[
        float | None, _option("--tokens", "TOKENS", "The model's training tokens; none: 20 a parameter.")
    ] = None,
    train: Annotated[Path | None, _option("--train", "SCENARIO", "Prices training: a scenario with tokens.")] = None,
    serve: Annotated[Path | None, _option("--serve", "SCENARIO", "Prices serving: a scenario with traffic.")] = None,
    law: Annotated[str, typer.Option("--law", metavar="NAME", help="Scaling law of workloads/laws.")] = "chinchilla",
) -> None:
    """Least cost of training plus serving."""
    from ..catalog.claims import scaling_law
    from ..lowering.parameters import active_parameters
    from ..studies.lifetime import cheapest, life
    from ..studies.scaling import loss

    library = call.library()
    asked = library.model(model)
    size = active_parameters(asked)
    trained = TOKENS_A_PARAMETER * size if tokens is None else tokens
    if trained <= 0.0:
        raise InputError(f"--tokens = {trained:g} is not positive. Give the tokens that it was trained on.")
    curve = scaling_law(library, law)
    target = loss(curve, size, trained)
    priced = _priced(call, train, serve)
    demands = [served * by for by in MULTIPLES]
    document = {
        "schema": SCHEMA,
        "model": asked.id,
        "law": {"id": curve.id, "source": curve.source},
        "loss": target,
        "unit": priced.unit,
        "rates": {name: figure.to_dict() for name, figure in priced.figures.items()},
        "as_it_is": _plain(life(curve, target, size, served, priced.rates), served),
        "best": _plain(cheapest(curve, target, served, priced.rates), served),
        "by_demand": [_plain(cheapest(curve, target, each, priced.rates), each) for each in demands],
    }
    emit(call, document, _screen(asked.name, document, priced))


def _plain(each: Life, served: float) -> dict[str, float]:
    return {"served_tokens": served, **each._asdict(), "total": each.total}


def _priced(call: Call, train: Path | None, serve: Path | None) -> Priced:
    """Dollars where both scenarios are given; FLOP without either."""
    from ..studies.lifetime import FLOPS_SERVED, Rates

    if train is None and serve is None:
        return Priced(Rates(1.0, FLOPS_SERVED), "flops", {})
    if train is None or serve is None:
        raise InputError("lifetime: --train and --serve go together. Give both, or neither to count in FLOP.")
    trained, exaflop = _training(call, train)
    parameters, million = _serving(call, serve)
    rates = Rates((exaflop.value or 0.0) / EXA, (million.value or 0.0) / 1e6 / parameters)
    figures = {"training_usd_per_exaflop": exaflop, "serving_usd_per_million_tokens": million, "trained": trained}
    return Priced(rates, "usd", figures)


def _training(call: Call, path: Path) -> tuple[Figure, Figure]:
    """Its cost, and the same for each EFLOP of 6 N D."""
    from .. import api
    from ..catalog.scenarios import TokenBudget, read_scenario
    from ..lowering.parameters import active_parameters
    from ..studies.scaling import FLOPS_PER_PARAMETER_TOKEN

    library, asked = call.library(), read_scenario(path)
    if not isinstance(asked.demand, TokenBudget) or asked.demand.tokens is None:
        raise InputError(f"{path}: demand.tokens is missing. Say how many tokens are trained.")
    result = api.train(asked, library)
    cost = _known(result, "cost", path)
    flops = FLOPS_PER_PARAMETER_TOKEN * active_parameters(library.model(asked.groups[0].model)) * asked.demand.tokens
    return cost, cost.scaled(EXA / flops, "usd")


def _serving(call: Call, path: Path) -> tuple[float, Figure]:
    """Parameters that are served, and dollars a million tokens, read and written alike."""
    from .. import api
    from ..catalog.scenarios import read_scenario
    from ..lowering.parameters import active_parameters

    library, asked = call.library(), read_scenario(path)
    result = api.serve(asked, library)
    cost = _known(result, "cost", path)
    millions = math.fsum(result[name].value or 0.0 for name in ("tokens_in", "tokens_out")) / 1e6
    return active_parameters(library.model(asked.groups[0].model)), cost.scaled(1.0 / millions, "usd")


def _known(result: Any, name: str, path: Path) -> Figure:
    if not result.fits or name not in result.figures:
        raise Infeasible(f"{path}: {result.verdict}")
    found: Figure = result.figures[name]
    if found.value is None:
        raise Infeasible(f"{path}: {name} is unknown. {found.note}")
    return found


def _screen(name: str, document: dict[str, Any], priced: Priced) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns, value_text
    from ..units import text

    best, own = document["best"], document["as_it_is"]
    saved = 1.0 - best["total"] / own["total"]
    verdict = (
        f"At the loss of {name} ({document['loss']:.4g}), {text(best['served_tokens'], 'tokens')} served cost least with "
        f"{text(best['parameters'], 'parameters')} on {text(best['tokens'], 'tokens')}: {saved:.0%} less than as it is."
    )
    grid = columns(">served", ">parameters", ">training tokens", ">training", ">serving", ">total")
    for label, each in [("as it is", own), *(("", row) for row in document["by_demand"])]:
        shown = text(each["served_tokens"], "tokens") + (f" ({label})" if label else "")
        costs = (text(each[part], priced.unit) for part in ("training", "serving", "total"))
        grid.add_row(shown, text(each["parameters"], ""), text(each["tokens"], ""), *costs)
    notes = [f"{key.replace('_', ' ')}  {value_text(figure)}" for key, figure in priced.figures.items()]
    if not notes:
        notes = [
            "counted in FLOP: 6 a parameter and training token, 2 a parameter and served token; --train and --serve price them"
        ]
    return Group(Text(verdict, style="bold"), grid, *(Text(note, style="dim") for note in notes))
