"""How each published source counts FLOPs, which peak it divides by, and which stack it ran: a table, not code."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..catalog.library import package_root
from ..errors import InputError

_FILE = Path("workloads") / "measured" / "training_sources.csv"


class Source(NamedTuple):
    """attention: `full` or `causal`; counts: `model` FLOPs or `hardware` (a recompute pass included); peak: MFU is over the
    `bf16` peak or that of the row's `own` format; stack: "" = the default of the chip's family;
    year: of publication, for rows that do not give it; gradients: format they are summed in, "" = fp32 unless the row is fp16;
    chunk_layers: layers of a chunk of the interleaved pipeline that the source runs where a row states none, "" = not interleaved;
    selective: `recompute` of a plan that the source means by selective, "" = selective; unstated: what it ran where a row states
    none, "" = as memory asks; lighter: what it turns to before full recomputation where memory asks;
    node_gbit: Gb/s that the source's nodes have into their network, "" = as the chip's own ports say;
    format: of products, where the row's name for it misleads; passes: `stages` = as many micro-batches as stages where a row
    states no micro-batch."""

    source: str
    notes_pattern: str
    stack: str
    attention: str
    counts: str
    peak: str
    year: str
    gradients: str
    chunk_layers: str
    selective: str
    unstated: str
    lighter: str
    format: str
    passes: str
    node_gbit: str


UNKNOWN = Source("", "", "", "full", "model", "bf16", *[""] * 9)


@lru_cache(maxsize=1)
def _sources() -> tuple[Source, ...]:
    path = package_root() / _FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(Source(*(row[name] for name in Source._fields)) for row in csv.DictReader(file))
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Reinstall the package.") from None


def source_of(tag: str, notes: str) -> Source:
    """The first entry of a source whose pattern (a software version, a row) occurs in the notes; else model FLOPs in full."""
    for entry in _sources():
        if entry.source == tag and re.search(entry.notes_pattern, notes):
            return entry
    return UNKNOWN
