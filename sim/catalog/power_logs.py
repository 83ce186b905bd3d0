"""Logs of power -> the mean draw of the chips while they worked: CSV of `nvidia-smi --query-gpu=... --format=csv`, and samples of
NVIDIA's DCGM (`dcgmi dmon`, or the exporter's text).

Columns: timestamp, index, power.draw [W], utilization.gpu [%], clocks.current.sm [MHz]; DCGM_FI_DEV_POWER_USAGE (W),
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION (mJ), DCGM_FI_DEV_GPU_UTIL (%) (nvidia-smi manual; dcgm-exporter default-counters.csv, 2026).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import InputError
from .imported import Note
from .imports import csv_rows

COLUMNS = (
    *("id", "source_url", "year", "system", "device", "num_devices", "model", "phase", "precision"),
    *("batch_or_concurrency", "engine", "scope", "measured_power_w", "energy_j_per_token", "energy_kwh_total"),
    *("tokens_per_s", "duration_s", "derived", "notes", "licence"),
)
_WATTS = "DCGM_FI_DEV_POWER_USAGE"
_BUSY = "DCGM_FI_DEV_GPU_UTIL"
_METRIC = re.compile(r"^(DCGM_FI_[A-Z_]+)\{([^}]{0,2000})\}\s+(\S{1,40})")
_CHIP = re.compile(r'\bgpu="([^"]{1,60})"')
BUSY_PERCENT = 50.0  # a sample below is idle and left out


class Sample(NamedTuple):
    """One reading of one chip; busy: utilisation in percent, NaN if it was not logged."""

    chip: str
    watts: float
    busy: float


class Draw(NamedTuple):
    """Mean watts of a chip while it worked, chips, samples used and left out; kind: nvidia-smi or dcgm."""

    kind: str
    chip_w: float
    chips: int
    used: int
    idle: int
    idle_w: float | None
    assumed: tuple[Note, ...]
    ignored: tuple[Note, ...]


def kind_of(text: str) -> str | None:
    """nvidia-smi, dcgm, or None."""
    head = text.lstrip("\ufeff")[:20_000]
    if "power.draw" in head.split("\n", 1)[0]:
        return "nvidia-smi"
    return "dcgm" if f"{_WATTS}{{" in head else None


def read_draw(text: str, name: str) -> Draw:
    """The mean draw of a log. Raises InputError with line and value for what is malformed, or if no chip ever worked."""
    kind = kind_of(text)
    if kind is None:
        raise InputError(f"{name}: neither CSV of nvidia-smi with power.draw nor samples of DCGM. Give one of them.")
    read = _smi if kind == "nvidia-smi" else _dcgm
    samples = list(read(text, name))
    known = any(not math.isnan(sample.busy) for sample in samples)
    used = [sample for sample in samples if not sample.busy < BUSY_PERCENT]
    idle = [sample for sample in samples if sample.busy < BUSY_PERCENT]
    if not used:
        raise InputError(f"{name}: no sample with a utilisation of {BUSY_PERCENT:g}% or more. Log while the job runs.")
    note = Note("samples", f"{len(used)} of {len(samples)}", f"utilisation of {BUSY_PERCENT:g}% or more")
    blind = Note("utilization.gpu", "", "not logged: every sample counts, idle ones too")
    chips = len({sample.chip for sample in used})
    idle_w = sum(sample.watts for sample in idle) / len(idle) if idle else None
    unused = (Note("clocks, memory, other fields", "", "not used"),)
    mean = sum(sample.watts for sample in used) / len(used)
    return Draw(kind, mean, chips, len(used), len(idle), idle_w, (note if known else blind,), unused)


def _smi(text: str, name: str) -> Iterator[Sample]:
    rows = csv_rows(text.lstrip("\ufeff"), name)
    names = [cell.strip().split(" ")[0] for cell in next(rows, ("", []))[1]]
    watts_at = next((i for i, each in enumerate(names) if each.startswith("power.draw")), None)
    busy_at = names.index("utilization.gpu") if "utilization.gpu" in names else None
    chip_at = next((names.index(each) for each in ("index", "uuid", "pci.bus_id") if each in names), None)
    if watts_at is None:
        raise InputError(f"{name}:1: no column power.draw. Query timestamp,index,power.draw,utilization.gpu.")
    for place, row in rows:
        if len(row) != len(names):
            raise InputError(f"{place}: {len(row)} columns, not {len(names)}. Mend the line.")
        chip = row[chip_at].strip() if chip_at is not None else "0"
        busy = math.nan if busy_at is None else _number(row[busy_at], "%", f"{place}: utilization.gpu")
        yield Sample(chip, _number(row[watts_at], "W", f"{place}: power.draw"), busy)


def _number(text: str, unit: str, place: str) -> float:
    """A number with or without its unit, from 0 on."""
    bare = text.strip().removesuffix(unit).strip()
    try:
        value = float(bare)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 1e7:
        raise InputError(f"{place} = {text.strip()[:60]!r} is not a number from 0 on. Mend or remove the line.")
    return value


def _dcgm(text: str, name: str) -> Iterator[Sample]:
    """Scrapes of the exporter one after another; a field of a chip that comes again begins the next one."""
    scrape: dict[tuple[str, str], float] = {}
    found = 0
    for number, line in enumerate(text.splitlines(), 1):
        field = _METRIC.match(line)
        if field is None or field[1] not in (_WATTS, _BUSY):
            continue
        chip = _CHIP.search(field[2])
        key = (field[1], chip[1] if chip else "0")
        if key in scrape:
            yield from _scraped(scrape)
            scrape = {}
        scrape[key] = _number(field[3], "", f"{name}:{number}: {field[1]}")
        found += field[1] == _WATTS
    if not found:
        raise InputError(f"{name}: no sample of {_WATTS}. Scrape that field.")
    yield from _scraped(scrape)


def _scraped(scrape: dict[tuple[str, str], float]) -> Iterator[Sample]:
    for (field, chip), value in scrape.items():
        if field == _WATTS:
            yield Sample(chip, value, scrape.get((_BUSY, chip), math.nan))


def row_of(draw: Draw, name: str, said: dict[str, str]) -> dict[str, str]:
    """The log as a row of a table of power; said: device, model, phase, precision, batch_or_concurrency, engine."""
    values = {
        "id": "log",
        "num_devices": str(draw.chips),
        "scope": "GPUs of the deployment (sum, no host)",
        "measured_power_w": f"{draw.chip_w * draw.chips:.6g}",
        "derived": "measured_power_w",
        "notes": f"{draw.kind}: mean of {draw.used} samples at {BUSY_PERCENT:g}% utilisation or more; file {name}",
        "licence": "own measurement",
        **said,
    }
    return {column: values.get(column, "") for column in COLUMNS}
