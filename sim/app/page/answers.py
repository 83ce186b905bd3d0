"""What an answering process does: a message in, a comparison or a tornado out."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ... import api
from ...catalog.library import Library
from ...catalog.scenarios import Scenario
from ...catalog.targets import adjusted, target
from ...errors import GambrelError, Infeasible, InputError
from ...report.tables import interval_text, key_figures, value_text
from ...result import Figure, Result
from ...studies.whatif import SAME, Effect, compare, hardware_keys, main_figure, moved, tornado
from .figures import inside, moved_chart, sections_of, tornado_chart
from .questions import Sides, command_of, field_of, library_of, sides, yaml_of

Progress = Callable[[float, str], None]
KEPT = 16  # results at hand: a slider moves one side only
TRIED_ALONE = 4  # changes of which each is tried alone, to say which of them move nothing
BY = 0.1  # share by which a tornado moves a value


class Answers:
    """Answers questions one after the other, with the catalogue and the last results at hand."""

    def __init__(self, catalog: Path | None) -> None:
        self.catalog = catalog
        self.library = Library(catalog)
        self.kept: OrderedDict[str, Result] = OrderedDict()

    def answer(self, message: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """The answer as plain values. Raises GambrelError."""
        begin_s = time.perf_counter()
        own: str | None = message.get("model_yaml")
        library = library_of(own, self.catalog, self.library)
        asked = sides(message["scenario"], message.get("changes", ()), library)
        run = _Run(self, library, own or "", asked, progress)
        answered = {"tornado": run.tornado, "inside": run.inside}.get(message.get("kind", ""), run.compare)()
        return {**answered, "seconds": time.perf_counter() - begin_s}


class _Run:
    """One question being answered."""

    def __init__(self, answers: Answers, library: Library, own: str, asked: Sides, progress: Progress) -> None:
        self.kept, self.library, self.own, self.asked, self.progress = answers.kept, library, own, asked, progress

    def compare(self) -> dict[str, Any]:
        asked = self.asked
        halves = 2 if asked.changed is not None else 1
        baseline = self._result(asked.baseline, lambda share, what: self.progress(share / halves, f"baseline: {what}"))
        changed, problem = None, None if asked.refusal is None else problem_of(asked.refusal, asked.verb)
        if asked.changed is not None:
            try:
                changed = self._result(
                    asked.changed, lambda share, what: self.progress(0.5 + share / 2, f"what if: {what}")
                )
            except GambrelError as error:
                problem = problem_of(error, asked.verb)
        effects = compare(baseline, changed or baseline)
        key = key_figures(baseline.figures)
        return {
            "schema": "gambrel.page-compare/1",
            "verb": asked.verb,
            "baseline": _side(baseline),
            "changed": None if changed is None else _side(changed),
            "problem": problem,
            "effects": [_effect(each, key, changed is not None) for each in effects],
            "chart": None if changed is None else moved_chart(effects, key),
            "moves_nothing": self._idle(baseline, effects) if changed is not None else [],
            "command": command_of(asked),
            "yaml": yaml_of(asked.changed or asked.baseline),
        }

    def _idle(self, baseline: Result, effects: tuple[Effect, ...]) -> list[str]:
        """Changes that alone move no figure. A simulation is not repeated for each: there only all together are judged."""
        texts = self.asked.changes
        if not moved(effects):
            return list(texts)
        if len(texts) == 1 or len(texts) > TRIED_ALONE or self.asked.verb == "serve":
            return []
        return [
            text for text in texts if not moved(compare(baseline, self._result(self.asked.with_only(text), _silent)))
        ]

    def inside(self) -> dict[str, Any]:
        """Kernels, stages and timeline of both sides."""
        asked = self.asked
        found = []
        for place, scenario in enumerate((asked.baseline, asked.changed)):
            self.progress(place / 2, "kernels and timeline")
            one = None if scenario is None else inside(scenario, self.library, self._result(scenario, _silent))
            found.append(one)
        return {"schema": "gambrel.page-inside/1", "baseline": found[0], "changed": found[1]}

    def tornado(self) -> dict[str, Any]:
        group = self.asked.baseline.groups[0]
        found = adjusted(target(self.library, group.cluster, group.stack, group.role), group)
        name = main_figure(self._result(self.asked.baseline, _silent))
        keys = hardware_keys(found.chip, found.cluster)
        swings = tornado(
            lambda scenario: self._result(scenario, _silent), self.asked.baseline, keys, name, BY, self.progress
        )
        moving = [each for each in swings if max(abs(each.lowered), abs(each.raised)) > SAME]
        return {
            "schema": "gambrel.page-tornado/1",
            "figure": name,
            "label": name.replace("_", " "),
            "by": BY,
            "swings": [{field: _finite(value) for field, value in each._asdict().items()} for each in moving],
            "still": [each.key for each in swings if each not in moving],
            "chart": tornado_chart(moving, BY, name),
        }

    def _result(self, scenario: Scenario, progress: Progress) -> Result:
        """The answer to a scenario, from the last few or from the verb."""
        key = f"{self.own}\n{scenario.model_dump_json()}"
        if key not in self.kept:
            verb = api.train if self.asked.verb == "train" else api.serve
            self.kept[key] = verb(scenario, self.library, progress)
            while len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]


def _silent(share: float, what: str) -> None:
    """For sides that are answered at once."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _side(result: Result) -> dict[str, Any]:
    return {"result": result.to_dict(), "sections": sections_of(result)}


def _effect(effect: Effect, key: Mapping[str, Figure], both: bool) -> dict[str, Any]:
    return {
        "figure": effect.name,
        "label": effect.name.replace("_", " "),
        "key": effect.name in key,
        "baseline": shown(effect.baseline),
        "changed": shown(effect.changed) if both else None,
        "ratio": effect.ratio if both else None,
        "delta": _delta(effect.ratio) if both else "",
    }


def shown(figure: Figure | None) -> dict[str, Any] | None:
    """A figure with its texts."""
    if figure is None:
        return None
    return {"note": "", **figure.to_dict(), "text": value_text(figure), "interval": interval_text(figure)}


def _delta(ratio: float | None) -> str:
    if ratio is None:
        return ""
    if abs(ratio - 1.0) < 5e-5:
        return "same"
    return f"{ratio - 1.0:+.1%}" if ratio < 10.0 else f"× {ratio:,.3g}"


def problem_of(error: GambrelError, verb: Any) -> dict[str, Any]:
    """What the API says of an error that a user may see."""
    kind = "input" if isinstance(error, InputError) else "infeasible" if isinstance(error, Infeasible) else "unknown"
    message = str(error).removeprefix("scenario: ")
    return {"kind": kind, "message": message, "field": field_of(message, "train" if verb == "train" else "serve")}
