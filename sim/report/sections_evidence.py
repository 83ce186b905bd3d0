"""Pages of evidence: predictions beside measurements, and public claims derived again."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..result import Figure
from ..units import split_unit
from . import charts, charts_rows
from .charts_rows import Mark
from .page import Page, Panel, Section, Table
from .tables import interval_text, value_text

Plain = Mapping[str, Any]
Rows = Mapping[str, Sequence[Mapping[str, str]]]  # rows of a validation by name of its table
GROUPINGS = ("device", "source")
MOST_GROUPS = 16
MOST_METRICS = 6
VERDICT_GOOD = ("holds", "holds under")


def validate(plain: Plain, rows: Rows) -> Page:
    """How far predictions are off, by table; rows: what `--rows` wrote, for the plots of each row."""
    sections: list[Section] = []
    for table in plain["tables"]:
        sections.append(_table(table, rows.get(str(table["name"]), ())))
    first = next(
        (line for table in plain["tables"] for line in table["errors"] if line["grouping"] == "all" and line["n"]), None
    )
    counted = sum(table["predicted"] for table in plain["tables"])
    said = (
        ""
        if first is None
        else f" Median error of {charts.words(first['metric'])} {first['median']:.1%}, 90% within {first['p90']:.0%}."
    )
    left = f", {plain['left_out']} left out" if plain.get("left_out") else ""
    return Page(
        kind="validate",
        title=f"{plain['verb']} against measurements",
        verdict=f"{counted:,} rows of {plain['verb']} predicted{left}.{said}",
        sections=tuple(sections),
        facts=(("calibration", str(plain["calibration"])),),
        commands=(f"gambrel validate {plain['verb']}",),
    )


def _table(table: Plain, rows: Iterable[Mapping[str, str]]) -> Section:
    name, lines = str(table["name"]), [line for line in table["errors"] if line["n"]]
    shown = [
        (
            charts.words(line["metric"]), line["group"] if line["grouping"] != "all" else "all",
            f"{line['n']:,}", _share(line["median"]), _share(line["mean"]), _share(line["p90"]), _share(line["floor_median"]),
        )
        for line in lines
        if line["grouping"] in ("all", *GROUPINGS)
    ]  # fmt: skip
    panels = plots_of_rows(list(rows))
    metric = next((line["metric"] for line in lines if line["grouping"] == "all"), None)
    for grouping in GROUPINGS:
        found = {
            f"{line['group']} ({line['n']:,})": (line["median"], _number(line["p90"]))
            for line in sorted(lines, key=lambda line: -line["n"])
            if line["grouping"] == grouping and line["metric"] == metric and line["median"] is not None
        }
        if len(found) > 1:
            kept = dict(list(found.items())[:MOST_GROUPS])
            panels.append(Panel(f"Error of {charts.words(str(metric))} by {grouping} (rows)", charts_rows.errors(kept)))
    skipped = [f"{count:,} skipped: {reason}" for reason, count in list(table["skipped"].items())[:5]]
    notes = [] if rows else ["Plots of single rows need the files of --rows."]
    return Section(
        f"table-{name}",
        charts.words(name),
        f"{table['predicted']:,} of {table['rows']:,} rows predicted.",
        panels=tuple(panels),
        values=()
        if not shown
        else (Table(("metric", "group", ">rows", ">median", ">mean", ">90% within", ">floor"), shown),),
        notes=(*skipped, *notes),
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def plots_of_rows(rows: Sequence[Mapping[str, str]]) -> list[Panel]:
    """A plot of predicted against measured for each column that both are known of."""
    if not rows:
        return []
    out = []
    for column in (name for name in rows[0] if f"predicted_{name}" in rows[0]):
        group = next((key for key in ("device", "chip", "cluster", "source") if key in rows[0]), "")
        title, unit, factor = _titled(column)
        points = []
        for row in rows:
            measured, predicted = _float(row[column]), _float(row[f"predicted_{column}"])
            if measured is not None and predicted is not None and not row.get("excluded_by"):
                points.append(
                    Mark(measured * factor, predicted * factor, row.get("source", "")[:60], row.get(group, ""))
                )
        if len(points) > 1:
            out.append(
                Panel(
                    f"{title[0].upper()}{title[1:]}, predicted and measured", charts_rows.predicted(points, title, unit)
                )
            )
    return out[:MOST_METRICS]


def _titled(column: str) -> tuple[str, str, float]:
    """(words, unit, factor to it) of a measured column: `memory_gb_per_device` is memory a device in bytes."""
    stem, _, per = column.partition("_per_device")
    a_device = " a device" if len(stem) < len(column) else ""
    if stem.endswith("_pct"):
        return f"{stem.removesuffix('_pct').upper()}{a_device}", "%", 1.0
    if stem == "tflops":
        return f"FLOP/s{a_device}", "flops_per_s", 1e12
    if stem.endswith("tokens_per_s"):
        return f"{charts.words(stem.removesuffix('_per_s'))}/s{a_device}{charts.words(per)}", "", 1.0
    name, unit, factor = split_unit(stem) or (stem, "", 1.0)
    return f"{charts.words(name)}{a_device}{charts.words(per)}", unit, factor


def _float(said: str | None) -> float | None:
    try:
        value = float(said or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0.0 else None


def rows_of(plain: Plain, folder: Path) -> dict[str, list[dict[str, str]]]:
    """Rows that a validation wrote, by table; of files that are gone nothing. folder: where its result lies."""
    found = {}
    for name in plain.get("written", ()):
        for path in (Path(str(name)), folder / Path(str(name)).name):
            if path.is_file():
                with path.open(encoding="utf-8", newline="") as file:
                    found[path.stem] = list(csv.DictReader(file))
                break
    if len(plain.get("written", ())) == len(plain["tables"]) == 1 and found:
        return {str(plain["tables"][0]["name"]): next(iter(found.values()))}
    return found


def claims(plain: Plain) -> Page:
    """Public claims: verdicts of all, or the arithmetic of one."""
    judged = plain["claims"]
    if len(judged) == 1:
        return _claim(judged[0])
    counts = {
        name: sum(each["verdict"] == name for each in judged) for name in dict.fromkeys(e["verdict"] for e in judged)
    }
    rows = [(each["statement"], each["verdict"], each["why"], _basis(each["figure"])) for each in judged]
    return Page(
        kind="claims",
        title="public claims",
        verdict=", ".join(f"{count} {name}" for name, count in counts.items())
        + f": {len(judged)} claims derived again.",
        sections=(
            Section(
                "verdicts",
                "Verdicts",
                panels=(Panel("Claims by verdict", charts.bars(counts, "")),),
                tables=(Table(("claim", "verdict", "because", "basis"), rows),),
            ),
        ),
    )


def _basis(plain: Plain | None) -> str:
    return "" if plain is None else str(plain["basis"])


def _claim(each: Plain) -> Page:
    steps = [(charts.words(s["name"]), *_valued(Figure.of(s["figure"])), s["how"]) for s in each["steps"]]
    sections = [
        Section("arithmetic", "The arithmetic", tables=(Table(("step", ">value", "range", "basis", "from"), steps),))
    ]
    for name, lines in each["tables"].items():
        columns = list(dict.fromkeys(key for line in lines for key in line["figures"]))
        rows = []
        for line in lines:
            cells = [value_text(Figure.of(line["figures"][key])) if key in line["figures"] else "" for key in columns]
            rows.append((line["row"], *cells, line["reason"]))
        head = ("", *(f">{charts.words(key)}" for key in columns), "")
        sections.append(Section(f"rows-{name}", charts.words(name).capitalize(), tables=(Table(head, rows),)))
    return Page(
        kind="claim",
        title=str(each["id"]),
        verdict=f"{each['statement']} {each['verdict'].capitalize()}: {each['why']}",
        good=each["verdict"] in VERDICT_GOOD,
        why=str(each["note"]),
        sections=tuple(sections),
        facts=(("source", str(each["source"])),),
    )


def _valued(figure: Figure) -> tuple[str, str, str]:
    return value_text(figure), interval_text(figure), figure.basis
