"""The page of one answer of `train`, `serve` or `fit`: figures, where the time goes, kernels, memory, timeline, chance, power."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..result import Figure, Result
from ..units import text
from . import charts, charts_rows, charts_time
from .behind import Behind
from .page import Page, Panel, Section, Table
from .tables import by_part, key_figures
from .theme import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from ..engine.timeline import Timeline

TILES = {
    "train": ("step_time", "mfu", "days_with_faults", "days", "cost", "memory_per_device", "power"),
    "serve": (
        "ttft_p95",
        "tpot_p95",
        "output_tokens_per_s",
        "usd_per_million_tokens",
        "slo_attainment",
        "joules_per_token",
    ),
    "fit": ("memory_per_device", "memory_capacity", "devices"),
}
MOST_TILES = 5
LEAST_LOST = 5e-5  # of the time: rarer causes are left to the figures
TOP_KERNELS = 12


def page_of(result: Result, behind: Behind | None = None, timeline: Timeline | None = None) -> Page:
    """The page of a result; sections that it has nothing for are left out."""
    kind = result.schema.removeprefix("gambrel.").partition("/")[0]
    behind = behind or Behind()
    sections = [
        figures(result),
        time(result.breakdown),
        kernels(behind),
        memory(result, behind),
        pipeline(timeline),
        *serving(result),
        *campaign(result),
    ]
    return Page(
        kind=kind,
        title=subject(result.scenario),
        verdict=result.verdict,
        sections=tuple(each for each in sections if each is not None),
        good=result.fits,
        why=result.why,
        tiles=tiles(kind, result.figures),
        warnings=result.warnings,
        commands=result.next_commands,
        facts=facts(result.provenance),
    )


def subject(scenario: Mapping[str, Any]) -> str:
    """Model and cluster of a scenario, for a title."""
    groups = scenario.get("groups") or [{}]
    named = [f"{each.get('model', '')} on {each.get('cluster', '')}" for each in groups]
    return ", ".join(dict.fromkeys(named))


def tiles(kind: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The few figures that stand at the top: known ones, five at most."""
    names = [name for name in TILES.get(kind, ()) if name in figures and figures[name].value is not None]
    if "days_with_faults" in names:
        names.remove("days")
    return {name: figures[name] for name in names[:MOST_TILES]}


def facts(provenance: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What an answer was made from, as name and value."""
    calibration = provenance.get("calibration") or {}
    said = {
        "version": provenance.get("version"),
        "chip": provenance.get("chip"),
        "cluster": provenance.get("cluster"),
        "software stack": provenance.get("stack"),
        "calibration": ", ".join(str(calibration[k]) for k in ("id", "basis", "source") if calibration.get(k)),
        "interval": provenance.get("interval"),
        "seed": provenance.get("seed"),
        "catalogue": provenance.get("catalogue"),
        "code": provenance.get("code"),
    }
    return tuple((name, str(value)) for name, value in said.items() if value not in (None, ""))


def figures(result: Result) -> Section:
    """Every figure; those of the first screen come first."""
    first = key_figures(result.figures)
    return Section(
        "figures",
        "Figures",
        "Value, interval and what each rests on. The small track shows the interval around the value, up to 60% to either side.",
        figures=first,
        more={name: each for name, each in result.figures.items() if name not in first},
    )


def time(breakdown: Mapping[tuple[str, str], float]) -> Section | None:
    """Where the time goes."""
    total = math.fsum(breakdown.values())
    if total <= 0.0:
        return None
    rows = [
        (charts.words(part), charts.words(phase), text(value, "s"), f"{value / total:.1%}")
        for (part, phase), value in sorted(breakdown.items(), key=lambda item: -item[1])
        if value > 0.0
    ]
    largest = next(iter(by_part(breakdown)))
    return Section(
        "time",
        "Where the time goes",
        f"Device time by part and phase; each bar begins where the one above it ends. The largest part is {charts.words(largest)}.",
        panels=(
            Panel("Device time by part and phase", charts.waterfall(breakdown)),
            Panel("Kind of work in each phase", charts.shares(breakdown)),
        ),
        values=(Table(("part", "phase", ">time", ">share"), rows),),
    )


def kernels(behind: Behind) -> Section | None:
    """Kernels under the roofs of the chip."""
    shown = [each for each in behind.passes if each.kernels]
    if not shown:
        return None
    panels = tuple(Panel(f"Kernels of {each.name}", charts_rows.roofline(each.kernels, each.roof)) for each in shown)
    head = ("kernel", ">time alone", ">share", ">of its roof")
    tables = [
        Table(
            head,
            [
                (k.name, text(k.seconds, "s"), f"{k.share:.1%}", f"{_of_roof(k, each.roof):.0%}")
                for k in each.kernels[:TOP_KERNELS]
            ],
            f"The longest kernels of {each.name}",
        )
        for each in shown
    ]
    off = "; ".join(f"{each.name}: {each.off_share:.0%}" for each in shown)
    return Section(
        "kernels",
        "Kernels under the roof",
        "Each circle is a kernel, as large as its share of the time. Left of the ridge memory bounds it, right of it the matrix "
        "units; the distance to the roof is what is lost.",
        panels=panels,
        values=tuple(tables),
        notes=(
            f"Roofs are the data sheet's, of one rank; times are of kernels run alone. Share of the time in traffic between "
            f"chips and look-ups, which have no place here: {off}.",
        ),
    )


def _of_roof(kernel: charts_rows.Kernel, roof: charts_rows.Roof) -> float:
    """Speed over the best that the roof allows at the kernel's intensity."""
    best = min(max(roof.flops_per_s.values()), kernel.flops / kernel.bytes * roof.memory_bytes_per_s)
    return kernel.flops / kernel.seconds / best


def memory(result: Result, behind: Behind) -> Section | None:
    """What fills a device, and every stage of a pipeline."""
    if not result.memory:
        return None
    capacity = result.figures.get("memory_capacity")
    full = None if capacity is None else capacity.value
    devices: dict[str, Mapping[str, float]] = {"fullest stage": result.memory}
    if len(behind.stages) > 1:
        devices = {f"stage {place}": parts for place, parts in enumerate(behind.stages)}
    total = math.fsum(result.memory.values())
    rows = [(charts.words(n), text(v, "bytes"), f"{v / total:.1%}") for n, v in result.memory.items()]
    several = "on every pipeline stage" if len(devices) > 1 else "of one device"
    return Section(
        "memory",
        "Memory",
        f"What is held {several}, by part.",
        panels=(Panel(f"Memory {several} by part", charts.memory(devices, full)),),
        values=(Table(("part", ">bytes", ">share"), rows, "The fullest stage"),),
    )


def pipeline(timeline: Timeline | None) -> Section | None:
    """The timeline of a step, or of the first requests."""
    if timeline is None or not len(timeline.schedule):
        return None
    cut = charts_time.slices_left_out(timeline)
    notes = (f"The first {charts_time.MOST_SLICES:,} slices; {cut:,} more follow. `gambrel trace` writes all of them.",)
    return Section(
        "timeline",
        "Timeline",
        f"Who works when, over {text(timeline.makespan_s, 's')}. Gaps are waiting. Drag to look closer, double-click to go back.",
        panels=(Panel("Timeline by queue", charts_time.timeline(timeline)),),
        notes=notes if cut else (),
    )


def serving(result: Result) -> list[Section]:
    """Latencies of the requests, and what the fleet did over time."""
    out: list[Section] = []
    if result.requests is not None and len(result.requests["arrival_s"]):
        out += latencies(result)
    series = (result.tables or {}).get("series")
    if series is not None and len(series.get("start_s", ())) > 1:
        panels = tuple(
            Panel(title[0].upper() + title[1:], chart) for title, chart in charts_time.series(series).items()
        )
        if panels:
            out.append(Section("series", "Over time", "What the fleet did, window by window.", panels=panels))
    return out


def latencies(result: Result) -> list[Section]:
    """Distributions of time to first token, time per output token and latency, with their limits."""
    columns, slo = result.requests, result.scenario.get("slo") or {}
    first_s, end_s = columns["first_token_s"], columns["finish_s"]
    more = columns["output_tokens"] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot_s = np.where(more > 0, (end_s - first_s) / np.maximum(more, 1), np.nan)
    panels = []
    for title, values_s, key, ink in (
        ("time to first token", first_s - columns["arrival_s"], "ttft_s", BLUE),
        ("time per output token", tpot_s, "tpot_s", ORANGE),
        ("time to the last token", end_s - columns["arrival_s"], "latency_s", GREEN),
    ):
        limit = slo.get(key)
        line = None if limit is None else charts_time.Limit(f"limit {text(limit, 's')}", limit)
        if np.isfinite(values_s).any():
            panels.append(Panel(title[0].upper() + title[1:], charts_time.distribution(values_s, title, line, ink)))
    if not panels:
        return []
    rows = [
        _percentiles(name, result.figures) for name in ("ttft", "tpot", "latency") if f"{name}_p50" in result.figures
    ]
    return [
        Section(
            "latency",
            "Latency of the requests",
            "How many requests are answered within a time.",
            panels=tuple(panels),
            values=(Table(("", ">p50", ">p95", ">p99"), rows),),
        )
    ]


def _percentiles(name: str, figures: Mapping[str, Figure]) -> tuple[str, ...]:
    cells = (figures.get(f"{name}_{end}") for end in ("p50", "p95", "p99"))
    return (name.upper(), *("" if f is None or f.value is None else text(f.value, "s") for f in cells))


def campaign(result: Result) -> list[Section]:
    """A training run with its failures: chance, what they cost, and power."""
    tables, out = result.tables or {}, []
    if "campaigns" in tables:
        days = result.figures.get("days")
        panels = [
            Panel(
                "Campaigns by length and interruptions",
                charts_time.campaigns(tables["campaigns"], days.value if days else None),
            )
        ]
        lost = {
            n.removeprefix("lost_to_"): f.value
            for n, f in result.figures.items()
            if n.startswith("lost_to_") and f.value and f.value >= LEAST_LOST
        }
        if lost:
            lost = dict(sorted(lost.items(), key=lambda item: -item[1]))
            panels.append(Panel("Share of the time lost, by cause", charts.bars(lost, "fraction", ORANGE)))
        out.append(
            Section(
                "campaign",
                "The campaign, with failures",
                f"{len(tables['campaigns']['days']):,} campaigns drawn by chance: a dot each.",
                panels=tuple(panels),
            )
        )
    if "power" in tables and len(tables["power"]["time_s"]) > 1:
        out.append(
            Section(
                "power",
                "Power over time",
                "What one chip draws over the campaign of median length; it falls while the job is down.",
                panels=(Panel("Power of a chip over the campaign", charts_time.power(tables["power"])),),
            )
        )
    return out
