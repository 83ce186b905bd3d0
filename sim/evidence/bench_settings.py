"""Settings of published closed-loop runs that no column of their table holds, as the scripts that made the runs have them: how long
engines were told to gather requests. A table, not code."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

from ..catalog.library import package_root
from ..errors import InputError
from .context import Context
from .tables import Row

_FILE = Path("workloads") / "measured" / "serving_settings.csv"
# of the steps that are gathered, those that a request waits: TensorRT-LLM waits for more prompts to its limit, as these runs never
# fill it; a request comes halfway between two looks of SGLang
WAITED = {"trtllm": 1.0, "sglang": 0.5}
_LEAST = {"concurrency_from": "concurrency"}
_BELOW = {"tp_below": "tp_size", "concurrency_below": "concurrency"}


@lru_cache(maxsize=1)
def _settings() -> tuple[dict[str, str], ...]:
    path = package_root() / _FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}). Reinstall the package.") from None


def waited_steps(row: Row, context: Context) -> float:
    """Decode steps for which an engine leaves a request aside before it looks at it, on average; 0 where no entry fits the row."""
    engine = row.text("engine")
    if engine not in WAITED:
        return 0.0
    model = context.model_named(row.text("model"))
    said = {
        "generation": context.chip(row.text("device")).generation,
        "model": "" if model is None else model.id,
        **{name: f"{row.need(name):g}" for name in ("input_tokens", "output_tokens")},
    }
    for entry in _settings():
        exact = entry["engine"] == engine and all(entry[name] in ("", value) for name, value in said.items())
        if exact and _within(entry, row):
            return float(entry["gather_steps"]) * WAITED[engine]
    return 0.0


def _within(entry: dict[str, str], row: Row) -> bool:
    """Do the row's counts lie between the bounds that the entry states? A count that the row does not give is 1."""
    least = all(not entry[key] or (row.count(name) or 1) >= float(entry[key]) for key, name in _LEAST.items())
    return least and all(not entry[key] or (row.count(name) or 1) < float(entry[key]) for key, name in _BELOW.items())
