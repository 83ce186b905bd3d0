"""`whatif`: the baseline and the changed question side by side; a tornado of the hardware values; until when a value binds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import InputError, did_you_mean
from .command import command
from .options import scenario_from
from .output import Call, Progress, emit
from .runs import Changes, Everything, File, Flags, _path

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.scenarios import Scenario
    from ..result import Figure, Result
    from ..studies.whatif import Effect, Evaluate, Swing

WIDTH = 24

Tornado = Annotated[
    bool, typer.Option("--tornado", metavar=" ", help="Move every hardware value and rank what follows.")
]
By = Annotated[
    float, typer.Option("--by", metavar="X", min=0.001, max=0.9, help="Share by which the tornado moves a value.")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="KEY", help="How much of this hardware value until another binds.")
]
Named = Annotated[
    str | None, typer.Option("--figure", metavar="NAME", help="The figure that tornado and --until look at.")
]


@command("whatif")
def whatif(
    call: Call,
    scenario: File = None,
    changes: Changes = None,
    tornado: Tornado = False,
    by: By = 0.1,
    until: Until = None,
    figure: Named = None,
    everything: Everything = False,
    *,
    flags: Flags,
) -> None:
    """Change a value and see what follows."""
    from rich.console import Group

    from ..studies import whatif as study

    if not (changes or tornado or until):
        raise InputError("whatif: nothing is to change. Give --set KEY*=FACTOR, --tornado, or --until KEY.")
    asks = _Asks(call, scenario, flags)
    asked = asks.scenario(())
    evaluate = _evaluate(call, asked)
    baseline = evaluate(asked)
    name = study.main_figure(baseline, figure)
    document: dict[str, Any] = {"schema": "gambrel.whatif/1", "figure": name, "baseline": baseline.to_dict()}
    parts: list[Any] = []
    if changes:
        parts.append(_sides(baseline, evaluate(asks.scenario(changes)), changes, document, everything))
        parts += _idle(asks, changes, baseline, evaluate, document)
    if tornado:
        with Progress() as progress:
            swings = study.tornado(evaluate, asked, _keys(call, asked), name, by, progress)
        parts.append(_tornado(swings, name, by, document))
    if until:
        parts.append(_until(evaluate, asked, until, _keys(call, asked), name, document))
    emit(call, document, Group(*parts))


class _Asks(NamedTuple):
    """The question as it stood on the command line."""

    call: Call
    file: str | None
    flags: Flags

    def scenario(self, changes: Sequence[str]) -> Scenario:
        """It, with these changes."""
        return scenario_from("whatif", _path(self.call, self.file), self.flags, self.call.seed, changes)


def _evaluate(call: Call, asked: Scenario) -> Evaluate:
    from .. import api

    library = call.library()
    verb = api.train if asked.groups[0].role == "train" else api.serve
    return lambda question: verb(question, library)


def _keys(call: Call, asked: Scenario) -> tuple[str, ...]:
    from ..catalog.targets import adjusted, target
    from ..studies.whatif import hardware_keys

    group = asked.groups[0]
    found = adjusted(target(call.library(), group.cluster, group.stack, group.role), group)
    return hardware_keys(found.chip, found.cluster)


def _sides(
    baseline: Result, changed: Result, texts: list[str], document: dict[str, Any], everything: bool
) -> RenderableType:
    """Both sides by figure."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns, interval_text, key_figures, value_text
    from ..studies.whatif import compare

    effects = compare(baseline, changed)
    document["changes"] = texts
    document["changed"] = changed.to_dict()
    document["effects"] = [_plain(each) for each in effects]
    grid = columns("figure", ">baseline", f">{', '.join(texts)}", "range", ">change", "basis")
    shown = {**key_figures(baseline.figures), **key_figures(changed.figures)}
    for each in effects:
        if (everything or each.name in shown) and each.changed is not None:
            before = "" if each.baseline is None else value_text(each.baseline)
            grid.add_row(
                each.name.replace("_", " "), before, value_text(each.changed), interval_text(each.changed),
                _percent(each.ratio), each.changed.basis,
            )  # fmt: skip
    why = "" if changed.why == baseline.why else f"\nwhy, before  {baseline.why}\nwhy, after   {changed.why}"
    return Group(Text(f"before  {baseline.verdict}\nafter   {changed.verdict}", style="bold"), grid, Text(why))


def _plain(effect: Effect) -> dict[str, Any]:
    def side(figure: Figure | None) -> dict[str, Any] | None:
        return None if figure is None else figure.to_dict()

    return {
        "figure": effect.name,
        "baseline": side(effect.baseline),
        "changed": side(effect.changed),
        "ratio": effect.ratio,
    }


def _percent(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return "same" if abs(ratio - 1.0) < 5e-5 else f"{ratio - 1.0:+.1%}"


def _idle(
    asks: _Asks, texts: list[str], baseline: Result, evaluate: Evaluate, document: dict[str, Any]
) -> list[RenderableType]:
    """A line for each change that alone moves no figure."""
    from rich.text import Text

    from ..studies.whatif import compare, moved

    idle = [text for text in texts if not moved(compare(baseline, evaluate(asks.scenario([text]))))]
    document["moves_nothing"] = idle
    return [Text(f"note  {text} moves no figure: nothing here waits for it.", style="yellow") for text in idle]


def _tornado(swings: tuple[Swing, ...], name: str, by: float, document: dict[str, Any]) -> RenderableType:
    """Bars left and right of the baseline."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import bar, columns

    document["tornado_by"] = by
    document["tornado"] = [
        {name: value if not isinstance(value, float) or math.isfinite(value) else None for name, value in each._asdict().items()}
        for each in swings
    ]  # fmt: skip
    widest = max((abs(x) for each in swings for x in each[1:3] if math.isfinite(x)), default=0.0) or 1.0
    grid = columns("hardware value", f">-{by:.0%}", f">+{by:.0%}", ">elasticity", "swing")
    for each in swings:
        if max(abs(each.lowered), abs(each.raised)) < 5e-5:
            continue
        largest = max(abs(x) for x in each[1:3] if math.isfinite(x))
        lowered = f"{each.lowered:+.1%}" if math.isfinite(each.lowered) else "does not fit"
        slope = f"{each.elasticity:+.2f}" if math.isfinite(each.elasticity) else ""
        grid.add_row(each.key, lowered, f"{each.raised:+.1%}", slope, bar(largest / widest, WIDTH))
    still = [each.key for each in swings if max(abs(each.lowered), abs(each.raised)) < 5e-5]
    parts: list[RenderableType] = [Text(f"{name.replace('_', ' ')} by hardware value", style="bold"), grid]
    if still:
        parts.append(Text(f"moves nothing: {', '.join(still)}", style="dim"))
    return Group(*parts)


def _until(
    evaluate: Evaluate, asked: Scenario, wanted: str, known: tuple[str, ...], name: str, document: dict[str, Any]
) -> RenderableType:
    from rich.text import Text

    from ..studies.whatif import LARGEST, break_even

    key = wanted if wanted.startswith(("chip.", "cluster.")) else f"chip.{wanted}"
    if key not in known:
        raise InputError(f"--until {wanted}: no hardware value here. {did_you_mean(key, known)}")
    others = [other for other in known if other != key and ".capacity" not in other]
    found = break_even(evaluate, asked, key, others, name)
    document["until"] = found._asdict()
    shown = name.replace("_", " ")
    if found.factor is None:
        said = f"{key} binds {shown} however large it is (up to {LARGEST:g} times)."
    elif found.factor == 1.0:
        said = f"{key} does not bind {shown} now: {found.binds_then} does."
    else:
        said = f"{key} binds {shown} up to {found.factor:.2f} times its value; then {found.binds_then} does."
    return Text(said, style="bold")
