"""Draws the images of accuracy.md from rows that `gambrel validate --rows` wrote. Needs matplotlib (the `docs` extra)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim.evidence.rules import training_tiers
from sim.evidence.tables import Table, known_tables
from sim.evidence.validate import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FITTED = "fitted"  # the folder of rows that the shipped calibrations predicted; those of a split have its name
KERNELS = {
    "gemm": "matrix product",
    "attention_prefill": "attention, prefill",
    "attention_decode": "attention, decode",
    "moe": "experts",
    "collective": "collective",
}
# Okabe and Ito's colours, told apart with every kind of colour vision
BLUE, ORANGE, GREEN, GREY, RED = "#0072B2", "#E69F00", "#009E73", "#595959", "#D55E00"
OTHERS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", RED, GREY)
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "gambrel",
    "svg.fonttype": "none",
}


TIERS = {
    ("D",): "dense, GPU",
    ("Dn",): "dense, GPU, no micro-batch stated",
    ("M",): "experts, GPU",
    ("T", "Tm"): "TPU",
    ("A",): "Trainium and Gaudi",
    ("V1", "Vn"): "small models, vTrain",
}


class Pairs(NamedTuple):
    """Rows of a table that count and are predicted. labels: device of each [n]."""

    table: str
    column: str
    labels: list[str]
    measured: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]


def draw(rows: Path, left_out: Sequence[Report], images: Path) -> list[tuple[str, str]]:
    """Draw every image into a folder; returns (file name, what it shows) of each."""
    import matplotlib

    matplotlib.use("svg")
    images.mkdir(parents=True, exist_ok=True)
    drawn = [
        (
            "kernels-predicted-measured.svg",
            "Kernels left out at random: predicted against measured time",
            _scatter(rows),
        ),
        (
            "kernels-error-by-device.svg",
            "Kernels: error by device, fifths and whole devices left out",
            _by_device(left_out),
        ),
        (
            "kernels-coverage.svg",
            "Kernels left out at random: share of measurements inside the interval",
            _coverage(left_out),
        ),
        ("training-predicted-measured.svg", "Training: predicted against measured time of a step", _training(rows)),
        ("end-to-end-ratio.svg", "Predicted over measured of every other table", _ratios(rows)),
    ]
    for name, _, figure in drawn:
        figure.savefig(images / name, dpi=100, metadata={"Date": None, "Creator": None})
    return [(name, text) for name, text, _ in drawn]


def _figure(width: float, height: float, *grid: int, **options: Any) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt.subplots(*grid, figsize=(width, height), layout="constrained", squeeze=False, **options)


def _pairs(table: Table) -> Iterator[Pairs]:
    """For each measured column the rows that count; a column of a few rows tells nothing."""
    counts = np.array([rule == "" for rule in table.column("excluded_by")], bool)
    devices = table.column("device")
    for column in table.kind.measured:
        measured, predicted = table.measured(column), table.measured(f"predicted_{column}")
        at = np.flatnonzero(counts & (measured > 0) & (predicted > 0))
        if at.size >= 10:
            yield Pairs(Path(table.path).stem, column, [devices[i] for i in at], measured[at], predicted[at])


def _scatter(rows: Path) -> Figure:
    tables = {table.kind.name: table for table in known_tables(rows / "random")}
    figure, axes = _figure(11.0, 7.2, 2, 3)
    devices = sorted({device for table in tables.values() for device in table.column("device")})
    colours = dict(zip(devices, OTHERS * (1 + len(devices) // len(OTHERS)), strict=False))
    for axis, (name, title) in zip(axes.flat, KERNELS.items(), strict=False):
        for pairs in _pairs(tables[name]) if name in tables else ():
            colour = [colours[device] for device in pairs.labels]
            axis.scatter(pairs.measured, pairs.predicted, s=3, c=colour, alpha=0.35, linewidths=0, rasterized=True)
            ends = np.array([pairs.measured.min(), pairs.measured.max()])
            axis.plot(ends, ends, color="black", linewidth=0.8)
            for factor in (0.8, 1.25):
                axis.plot(ends, ends * factor, color="black", linewidth=0.6, linestyle=":")
        axis.set(xscale="log", yscale="log", title=title, xlabel="measured, us", ylabel="predicted, us")
    legend = axes.flat[-1]
    legend.axis("off")
    for device in devices:
        legend.scatter([], [], s=25, c=colours[device], label=device)
    legend.legend(loc="center", frameon=False, title="dotted: a quarter more, a fifth less")
    return figure


def _training(rows: Path) -> Figure:
    """A panel a tier: tokens a second and device, which every row measures or gives through its step time."""
    figure, axes = _figure(11.0, 6.6, 2, 3)
    tables = [table for table in known_tables(rows / FITTED) if table.kind.name == "training"]
    for axis, (tiers, title) in zip(axes.flat, TIERS.items(), strict=True):
        ends: list[float] = []
        for table in tables:
            tier = np.array(training_tiers(table))
            measured, predicted = (table.measured(f"{name}step_time_s") for name in ("", "predicted_"))
            at = np.flatnonzero(np.isin(tier, tiers) & (measured > 0) & (predicted > 0))
            axis.scatter(measured[at], predicted[at], s=8, c=BLUE, alpha=0.4, linewidths=0, rasterized=True)
            ends += [*measured[at], *predicted[at]]
        line = np.array([min(ends, default=1.0), max(ends, default=2.0)])
        for factor, style in ((1.0, "-"), (0.8, ":"), (1.25, ":")):
            axis.plot(line, line * factor, color="black", linewidth=0.7, linestyle=style)
        axis.set(xscale="log", yscale="log", title=title, xlabel="measured step, s", ylabel="predicted step, s")
        axis.minorticks_off()
    return figure


def _by_device(left_out: Sequence[Report]) -> Figure:
    figure, axes = _figure(11.0, 3.6, 1, len(KERNELS), sharey=True)
    shown = {"random": (BLUE, "o", "fifths left out", -0.15), "device": (ORANGE, "s", "the device left out", 0.15)}
    lines = [
        (report.left_out, table.kind, line)
        for report in left_out
        if report.left_out in shown
        for table in report.tables
        for line in table.beside
        if line.grouping == "device"
    ]
    devices = sorted({line.group for _, _, line in lines}, reverse=True)
    for axis, (name, title) in zip(axes.flat, KERNELS.items(), strict=True):
        for split, kind, line in lines:
            median, p90 = line.median["model"], line.p90["model"]
            if kind == name and split and median is not None and p90 is not None:
                colour, marker, _, shift = shown[split]
                y = devices.index(line.group) + shift
                axis.plot([100 * median, 100 * p90], [y, y], color=colour, linewidth=2, alpha=0.5)
                axis.plot(100 * median, y, marker, color=colour, markersize=5)
        axis.set(title=title, xlabel="error, %", xlim=(0, None), yticks=range(len(devices)), yticklabels=devices)
    for colour, marker, text, _ in shown.values():
        axes.flat[0].plot([], [], marker, color=colour, label=text)
    figure.legend(
        loc="outside lower center", ncols=2, frameon=False, title="mark: median, end of the line: 90th percentile"
    )
    return figure


def _coverage(left_out: Sequence[Report]) -> Figure:
    tables = [table for report in left_out if report.left_out == "random" for table in report.tables]
    figure, axes = _figure(8.0, 3.4, 1, 1)
    axis = axes.flat[0]
    groups = list(dict.fromkeys(e.group for t in tables for e in t.coverage if e.grouping in ("all", "size")))
    for index, group in enumerate(groups):
        for place, table in enumerate(tables):
            share = [each.share for each in table.coverage if each.group == group and each.grouping in ("all", "size")]
            x = place + (index - len(groups) / 2 + 0.5) * 0.2
            axis.bar(
                x,
                100 * share[0] if share else 0.0,
                0.18,
                color=OTHERS[::-1][index],
                label=group if place == 0 else None,
            )
    axis.axhline(80, color="black", linewidth=1, linestyle="--")
    names = [KERNELS[table.kind] for table in tables]
    axis.set(ylabel="measured inside the interval, %", ylim=(0, 100), xticks=range(len(tables)), xticklabels=names)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _ratios(rows: Path) -> Figure:
    tables = [table for table in known_tables(rows / FITTED) if table.kind.verb != "kernels"]
    found = [pairs for table in tables for pairs in _pairs(table)][::-1]
    figure, axes = _figure(8.0, 1.2 + 0.28 * len(found), 1, 1)
    axis = axes.flat[0]
    for y, pairs in enumerate(found):
        low, first, median, third, high = np.quantile(pairs.predicted / pairs.measured, (0.1, 0.25, 0.5, 0.75, 0.9))
        axis.plot([low, high], [y, y], color=BLUE, linewidth=1.5)
        axis.plot([first, third], [y, y], color=BLUE, linewidth=6, alpha=0.6, solid_capstyle="butt")
        axis.plot(median, y, "o", color="white", markeredgecolor=BLUE, markersize=5)
    axis.axvline(1.0, color="black", linewidth=0.8)
    ticks = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)
    axis.set(
        xscale="log",
        xlabel="predicted / measured\n(line: 80%, bar: half of the rows, mark: median)",
        xlim=(0.2, 5.0),
    )
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    labels = [f"{pairs.table}: {pairs.column} ({len(pairs.measured):,})" for pairs in found]
    axis.set_yticks(range(len(found)), labels)
    return figure
