"""Claims, computed live: the steps of a claim's arithmetic, its tables, and the verdict that follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..catalog.claims import Asked, Claim, Table, Term, claim, claims, overlaid, scaling_law
from ..catalog.library import Library
from ..catalog.prices import price_of, prices_of
from ..catalog.scenarios import Scenario
from ..errors import GambrelError, Infeasible, InputError, UnknownFigure
from ..lowering.parameters import active_parameters, parameters
from ..result import Figure, Result
from .arithmetic import Column, Function, Value, evaluated
from .scaling import loss, optimal_parameters, optimal_tokens

Evaluate = Callable[[Scenario], Result]
Progress = Callable[[float, str], None]

ABOUT = 0.25  # relative: what a claim that is a round figure is taken to mean
HOLDS, HOLDS_UNDER, FAILS, OUTSIDE = "holds", "holds under", "does not hold", "outside the model"
LAW = "chinchilla"


class Step(NamedTuple):
    """One line of the arithmetic: its name, how it came about, and its figure."""

    name: str
    how: str
    figure: Figure


class Line(NamedTuple):
    """One row of a table: its figures by column, or why there are none."""

    label: str
    figures: Column
    reason: str = ""


class Judged(NamedTuple):
    """A claim with its verdict. sure: the whole interval of the figure says the same. unknown figures leave the verdict open."""

    claim: Claim
    verdict: str
    sure: bool
    why: str
    figure: Figure | None
    steps: tuple[Step, ...]
    tables: dict[str, tuple[Line, ...]]
    note: str


def judge(name: str, library: Library, evaluate: Evaluate) -> Judged:
    """A claim by id or file: every step and table computed now, through `evaluate`."""
    asked = claim(library, name)
    work = _Work(asked, library, evaluate)
    for each in asked.steps:
        work.value(each)
    for each in asked.tables:
        work.table(each)
    if asked.asked is None:
        found = Judged(asked, OUTSIDE, True, asked.outside or "", None, work.steps(), work.lines, "")
    else:
        verdict, sure, why = _verdict(asked.asked, work)
        found = Judged(asked, verdict, sure, why, work.figure(asked.asked.figure), work.steps(), work.lines, "")
    return found._replace(note=_filled(asked.note or "", work), why=_filled(found.why, work))


def judge_all(name: str | None, library: Library, evaluate: Evaluate, progress: Progress | None = None) -> list[Judged]:
    """The claim of a name or file, or all of the catalogue. progress(share done, id) is called before each."""
    names = claims(library) if name is None else [name]
    out = []
    for number, each in enumerate(names):
        if progress is not None:
            progress(number / len(names), each)
        out.append(judge(each, library, evaluate))
    return out


class _Work:
    """A claim while it is computed: values by name, found when first asked for."""

    def __init__(self, asked: Claim, library: Library, evaluate: Evaluate) -> None:
        self.claim, self.library, self.evaluate = asked, library, evaluate
        self.known: dict[str, Figure] = {}
        self.order: list[str] = []
        self.lines: dict[str, tuple[Line, ...]] = {}
        self.answers: dict[str, Result] = {}
        self.open: list[str] = []
        law = scaling_law(library, LAW)
        self.functions: dict[str, Function] = {
            "loss": partial(loss, law),
            "optimal_parameters": partial(optimal_parameters, law),
            "optimal_tokens": partial(optimal_tokens, law),
        }

    def steps(self) -> tuple[Step, ...]:
        return tuple(Step(name, _how(self.claim.steps[name]), self.known[name]) for name in self.order)

    def figure(self, name: str) -> Figure:
        found = self.value(name)
        if isinstance(found, dict):
            raise InputError(f"claim {self.claim.id}: {name} is a column; a figure is asked for. Make it a step.")
        return found

    def value(self, name: str) -> Value:
        """A step's figure, or a table's column. Raises InputError for a name that is neither, or that needs itself."""
        table, dot, column = name.partition(".")
        if dot:
            return {line.label: line.figures[column] for line in self.table(table) if column in line.figures}
        if name not in self.known:
            if name not in self.claim.steps:
                raise InputError(f"claim {self.claim.id}: {name} is no step. Steps: {', '.join(self.claim.steps)}.")
            if name in self.open:
                raise InputError(
                    f"claim {self.claim.id}: {' -> '.join([*self.open, name])} needs itself. Break the circle."
                )
            self.open.append(name)
            self.known[name] = self._term(self.claim.steps[name], self.value)
            self.open.pop()
            self.order.append(name)
        return self.known[name]

    def _term(self, term: Term, lookup: Callable[[str], Value], answer: Result | None = None) -> Figure:
        try:
            return self._found(term, lookup, answer)
        except (UnknownFigure, Infeasible) as unknown:
            return Figure.unknown(term.unit, str(unknown))

    def _found(self, term: Term, lookup: Callable[[str], Value], answer: Result | None) -> Figure:
        if term.value is not None:
            return Figure(term.value, term.unit, term.low, term.high, "measured", term.source or "")
        if term.formula is not None:
            return evaluated(term.formula, lookup, term.unit, self.functions)
        if term.price is not None:
            offer = price_of(self.library, self.library.chip(term.price).id, term.term)
            note = f"{offer.provider} {offer.instance}, {offer.term}, {offer.region}, {offer.date}"
            return Figure(offer.usd_per_device_hour, "usd_per_device_hour", basis="measured", note=note)
        if term.chip is not None:
            return Figure(_at(self.library.chip(term.chip), term.key or ""), term.unit, basis="measured")
        if term.model is not None:
            count = active_parameters if term.key == "active" else parameters
            return Figure(count(self.library.model(term.model)), "parameters", basis="measured")
        result = answer if answer is not None else self._answer(term)
        if not result.fits:
            raise Infeasible(result.verdict)
        if term.figure not in result.figures:
            raise InputError(
                f"claim {self.claim.id}: no figure {term.figure!r}. Use one of {', '.join(result.figures)}."
            )
        return result.figures[term.figure or ""]

    def _answer(self, term: Term) -> Result:
        name = term.of or ""
        if name not in self.claim.scenarios:
            raise InputError(f"claim {self.claim.id}: of = {name!r} is no scenario of it. Name one of its scenarios.")
        if name not in self.answers:
            self.answers[name] = self.evaluate(self.claim.scenario(name))
        return self.answers[name]

    def table(self, name: str) -> tuple[Line, ...]:
        """Rows of a table, each with its columns."""
        if name not in self.claim.tables:
            raise InputError(f"claim {self.claim.id}: {name} is no table of it.")
        if name not in self.lines:
            table = self.claim.tables[name]
            self.lines[name] = tuple(self._line(table, label, changes) for label, changes in _rows(table, self.library))
        return self.lines[name]

    def _line(self, table: Table, label: str, changes: dict[str, Any]) -> Line:
        answer, reason = self._best(table, changes)
        if answer is None:
            return Line(label, {}, reason)
        figures: Column = {}

        def lookup(name: str) -> Value:
            return figures[name] if name in figures else self.value(name)

        for column, term in table.columns.items():
            figures[column] = self._term(term, lookup, answer)
        return Line(label, figures)

    def _best(self, table: Table, changes: dict[str, Any]) -> tuple[Result | None, str]:
        """Of the row's tries that fit, the answer with the least figure; else why none fits."""
        best: tuple[float, Result] | None = None
        reason = ""
        for tried in table.tries or ({},):
            try:
                answer = self.evaluate(Claim.scenario(_overlaid(self.claim, table.of, changes), table.of, tried))
            except GambrelError as error:
                reason = reason or str(error)
                continue
            key = answer.figures.get(table.least) if answer.fits else None
            if key is None or key.value is None:
                reason = reason or answer.verdict
            elif best is None or key.value < best[0]:
                best = (key.value, answer)
        return (None, reason) if best is None else (best[1], "")


def _overlaid(asked: Claim, name: str, changes: dict[str, Any]) -> Claim:
    return asked.with_(scenarios={**asked.scenarios, name: overlaid(asked.scenarios[name], changes)})


def _rows(table: Table, library: Library) -> list[tuple[str, dict[str, Any]]]:
    """Labels and changes of a table; `every: price` makes a row of each chip with a price."""
    rows = [(row.label, row.changes) for row in table.rows]
    if table.every is None:
        return rows
    if table.every != "price":
        raise InputError(f"every = {table.every!r} is not known. Use price.")
    priced = [entry.id for entry in library.entries("chip") if prices_of(library, entry.id)]
    return rows + [(chip, {"cluster": chip}) for chip in priced]


def _at(record: Any, key: str) -> float:
    """A number of a chip by its path, in SI units. Raises UnknownFigure where the file leaves it out."""
    found = record
    for part in key.split("."):
        if not hasattr(found, part):
            raise InputError(f"chip {record.id} has no {key}. See `gambrel schema chip`.")
        found = getattr(found, part)
    if found is None:
        raise UnknownFigure(f"{record.id}.{key}")
    return float(found)


def _how(term: Term) -> str:
    """Where a step comes from, in words."""
    if term.formula is not None:
        how = term.formula
    elif term.value is not None:
        how = term.source or ""
    elif term.figure is not None:
        how = f"{term.figure.replace('_', ' ')} of {term.of}"
    elif term.price is not None:
        how = f"price of {term.price}"
    else:
        how = f"{term.chip} {term.key}" if term.chip is not None else f"{term.key or 'all'} parameters of {term.model}"
    return f"{how} ({term.says})" if term.says else how


def bounds(asked: Asked) -> tuple[float, float]:
    """The range that a claim allows its figure: of a round figure a quarter either way, of a bound what it says."""
    if asked.about is not None:
        slack = abs(asked.about) * ABOUT
        return asked.about - slack, asked.about + slack
    low, high = asked.at_least, asked.at_most
    return (-float("inf") if low is None else low, float("inf") if high is None else high)


def _verdict(asked: Asked, work: _Work) -> tuple[str, bool, str]:
    """The first of: it holds, it holds under a condition, it does not."""
    low, high = bounds(asked)
    main = work.figure(asked.figure)
    if main.value is None:
        return OUTSIDE, True, f"{asked.figure} is unknown: {main.note}"
    if low <= main.value <= high:
        return HOLDS, _inside(main, low, high), f"{_plain(asked.figure)} is {{{asked.figure}}}"
    for other in asked.under:
        figure = work.figure(other.figure)
        if figure.value is not None and low <= figure.value <= high:
            return (
                HOLDS_UNDER,
                _inside(figure, low, high),
                f"{other.condition}: {_plain(other.figure)} is {{{other.figure}}}",
            )
    ends = (main.value if main.low is None else main.low, main.value if main.high is None else main.high)
    return FAILS, ends[1] < low or ends[0] > high, f"{_plain(asked.figure)} is {{{asked.figure}}}"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _inside(figure: Figure, low: float, high: float) -> bool:
    ends = (figure.value if figure.low is None else figure.low, figure.value if figure.high is None else figure.high)
    return all(end is not None and low <= end <= high for end in ends)


def _filled(words: str, work: _Work) -> str:
    """Words with `{step}` replaced by its figure."""
    return re.sub(r"\{([a-z0-9_.]+)\}", lambda match: shown(work.figure(match[1])), words)


def basis_of(figure: Figure) -> str:
    """The figure's basis; `given` where nothing in it is predicted: facts from outside with their source, and what follows from
    them by arithmetic alone."""
    return "given" if figure.basis == "measured" else figure.basis


def shown(figure: Figure) -> str:
    """A figure as people read it, with its range."""
    if figure.value is None:
        return "unknown"
    words = _words(figure.value, figure.unit)
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return words
    return f"{words} ({_words(figure.low, figure.unit)} to {_words(figure.high, figure.unit)})"


def _words(value: float, unit: str) -> str:
    from ..units import text

    if unit == "year":
        return f"{value:.1f}"
    if unit == "fraction":
        return f"{100.0 * value:.3g}%"
    if unit == "usd":
        for letter, factor in (("bn", 1e9), ("M", 1e6), ("k", 1e3)):
            if abs(value) >= factor:
                return f"${value / factor:,.3g}{letter}"
        return f"${value:,.3g}"
    return text(value, unit)
