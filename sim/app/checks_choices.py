"""`validate choices`: does `search serve` choose well? Its arithmetic on the configurations of measured closed loops, and the best few
simulated, as it does.

A row is a setting of the search (cluster, layout, engine, prompts apart or not) at its number of clients. What the search says
of it stands against what was measured: of each model, device, lengths and limit of TPOT the configuration with the highest
predicted rate a chip that is predicted to keep the limit, measured, over the best measured one that keeps it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from ..catalog.models import Model
    from ..evidence.choices import Score
    from ..evidence.context import Context
    from ..evidence.predictions import Answer, Predictions
    from ..evidence.tables import Row, Table
    from ..studies.serve_space import Load, Point, Setting

CHOICES = "choices"


class Chosen(NamedTuple):
    """One table: rows, rows that the search answers, reasons of the others, what its choices are worth by arithmetic alone, and
    where the best few are simulated."""

    name: str
    rows: int
    answered: int
    skipped: dict[str, int]
    arithmetic: Score
    score: Score

    @property
    def holds(self) -> bool:
        """Whether both bars are met."""
        from ..evidence.choices import BARS

        return self.score.near >= BARS[0] and self.score.regret <= BARS[1]


def validate_choices(path: Path | None, context: Context, progress: Callable[[int, int], None]) -> list[Chosen]:
    """Score the choices of each table of closed-loop runs in a file or folder; None: the pairs that are shipped."""
    from ..evidence import serving_rows
    from ..evidence.choices import choices, score
    from ..evidence.limits import scored_by
    from ..evidence.ratios import tables_of_runs
    from ..studies.search_serve import REFINE

    tables = [table for table in tables_of_runs(path, context) if table.kind.verb == "serving"]
    if not tables:
        raise InputError(f"{path}: no table of serving runs. Give one with the columns of closed loops.")
    out = []
    for table in tables:
        found = predicted(table, context, progress)
        reasons = [reason for reason in found.reason if reason]
        counts = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        excluded = [rule or found.reason[i] for i, rule in enumerate(scored_by(table, context))]
        simulated = serving_rows.predict(table.configuration(), context, progress)
        stages = choices(table, found, excluded), choices(table, simulated, excluded, (found, REFINE))
        out.append(Chosen(Path(table.path).stem, len(table), len(table) - len(reasons), counts, *map(score, stages)))
    return out


def predicted(table: Table, context: Context, progress: Callable[[int, int], None]) -> Predictions:
    """What the search's arithmetic says of each row's configuration at its clients."""
    from ..evidence.predictions import predict_rows

    return predict_rows(table, lambda row: _answer(row, context), progress)


def _answer(row: Row, context: Context) -> Answer:
    from ..evidence.predictions import Answer

    model, setting, load = _setting(row, context)
    point = _at(model, setting, load)
    # time to the first token such that the clients of the row see the rate a chip that the search ranks by
    chips = point.chips / sum(point.replicas)
    spans = 1 if not setting.apart else sum(point.replicas)
    clients = load.clients or 1
    share = clients if sum(point.replicas) == 1 or setting.apart else point.sequences
    seconds = share * load.output_tokens / (point.tokens_per_s_per_chip * chips * spans)
    ttft_s = max(seconds - point.tpot_s * (load.output_tokens - 1), point.tpot_s)
    return Answer({"ttft_ms": ttft_s * 1e3, "tpot_ms": point.tpot_s * 1e3}, setting.target.calibration.basis)


def _setting(row: Row, context: Context) -> tuple[Model, Setting, Load]:
    from ..catalog.plans import Engine
    from ..evidence.serving_rows import lengths, model_named, target_of, worker
    from ..evidence.tables import Skip
    from ..studies.serve_space import Load, Setting

    if row.text("mode") == "disagg":
        raise Skip("prompts and tokens apart: the search gives both the same layout, measured ones differ")
    target = target_of(row, context)
    model, plan = worker(row, "", model_named(row, context), target.chip)
    given, made, spread = lengths(row)
    given, made = round(given * (1.0 - spread / 2.0)), max(2, round(made * (1.0 - spread / 2.0)))
    clients = row.need("concurrency")
    engine = Engine(max_num_seqs=max(clients, target.stack.engine.max_num_seqs or 1) * plan.pp)
    return (
        model,
        Setting(target.cluster.id, target, plan, engine, False),
        Load(given, made, given + made, None, clients),
    )


def _at(model: Model, setting: Setting, load: Load) -> Point:
    """The setting with all clients on one replica, or as many as its cache holds."""
    from ..evidence.tables import Skip
    from ..studies.serve_space import points

    found = points(model, setting, load)
    if not found or not math.isfinite(found[-1].tpot_s):
        raise Skip("the search finds no operating point")
    return found[-1]


def choices_command(call: Call, path: Path | None, context: Context) -> int:
    """Score and print; 1 where a bar is missed."""
    with Progress() as progress:
        found = validate_choices(path, context, lambda done, total: progress(done / max(total, 1), "configurations"))
    document = {
        "schema": "gambrel.validate-choices/1",
        "calibration": context.level,
        "tables": [_plain(each) for each in found],
    }
    emit(call, document, _screen(found))
    return 0 if all(each.holds for each in found) else 1


def _plain(each: Chosen) -> dict[str, Any]:
    arithmetic, refined = (
        {name: None if np.isnan(value) else value for name, value in score._asdict().items()}
        for score in (each.arithmetic, each.score)
    )
    counts = {"name": each.name, "rows": each.rows, "answered": each.answered, "skipped": each.skipped}
    return {**counts, **refined, "arithmetic": arithmetic, "holds": each.holds}


def _screen(found: list[Chosen]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..evidence.choices import BARS, NEAR
    from ..report.tables import columns
    from ..studies.search_serve import REFINE

    parts: list[RenderableType] = []
    for each in found:
        parts.append(Text(f"{each.name}: {each.answered:,} of {each.rows:,} configurations answered", style="bold"))
        grid = columns(
            "chosen by", ">choices", f">within {NEAR:.0%} of best", ">rate lost", ">break the limit", ">by lot"
        )
        for how, score in (("arithmetic", each.arithmetic), (f"the best {REFINE} simulated", each.score)):
            shares = (score.near, score.regret, score.broken, score.regret_blind)
            grid.add_row(how, f"{score.n:,}", *(f"{share:.1%}" for share in shares))
        held = "hold" if each.holds else "are not both met"
        bars = f"bars of the search, {BARS[0]:.0%} or more and {BARS[1]:.0%} or less, {held}"
        parts += [grid, Text(bars)]
        parts += [Text(f"{count:,} skipped: {reason}", style="dim") for reason, count in each.skipped.items()]
    return Group(*parts)
