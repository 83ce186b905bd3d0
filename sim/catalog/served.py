"""What a user's file said of a serving run: configuration, what was measured, and what became of each of its fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from .chips import DTYPES
from .imported import Note

LAYOUT = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
WORKERS = tuple(f"{side}_{name}" for side in ("prefill", "decode") for name in ("batch_size", "num_workers", *LAYOUT))
HEADER = (
    *("model", "device", "engine", "engine_version", "precision", "mode"),
    *("input_tokens", "output_tokens", "concurrency", "batch_size"),
    *LAYOUT,
    *WORKERS,
    *("ttft_ms", "tpot_ms", "notes"),
)
COLUMN_OF = {"tp": "tp_size", "pp": "pp_size", "ep": "moe_ep_size", "attention_dp": "attention_dp_size"}


@dataclass(frozen=True)
class Served:
    """One serving run as a user's file tells it: closed loop of `concurrency` clients, mean tokens in and out of a request.

    layout: columns of LAYOUT and WORKERS, as far as the file or the user says them; "" where a name is not known. ttft_ms,
    tpot_ms: means, as clients saw them. understood, assumed, ignored: every field of the file is in one.
    """

    kind: str
    name: str
    model: str
    input_tokens: int
    output_tokens: int
    concurrency: int
    device: str = ""
    engine: str = ""
    engine_version: str = ""
    precision: str = ""
    mode: str = "agg"
    layout: tuple[tuple[str, int], ...] = ()
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    measured_as: str = ""
    understood: tuple[Note, ...] = ()
    assumed: tuple[Note, ...] = ()
    ignored: tuple[Note, ...] = ()

    def at(self, device: str) -> Served:
        """The same run on this chip. Raises InputError if the file names another."""
        return self._said("device", device, "--cluster")

    def under(self, engine: str | None) -> Served:
        """The same run by this engine. Raises InputError if the file names another."""
        return self if engine is None else self._said("engine", engine, "--engine")

    def in_format(self, precision: str | None) -> Served:
        """The same run of weights in this format. Raises InputError for an unknown one, or if the file says another."""
        if precision is None:
            return self
        if precision not in DTYPES:
            raise InputError(f"--precision = {precision!r} is not known. Use one of {', '.join(DTYPES)}.")
        return self._said("precision", precision, "--precision")

    def spread(self, **degrees: int | None) -> Served:
        """The same run with degrees of parallelism that the file leaves open: tp, pp, ep, attention_dp."""
        held = dict(self.layout)
        for name, degree in degrees.items():
            column = COLUMN_OF[name]
            if degree is None:
                continue
            if held.get(column, degree) != degree:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} = {degree}: {self.name} says {held[column]}. Leave --{flag} out.")
            held[column] = degree
        rest = tuple(note for note in self.assumed if note.name not in degrees or degrees[note.name] is None)
        return replace(self, layout=tuple(held.items()), assumed=rest)

    def _said(self, field: str, value: str, flag: str) -> Served:
        old = getattr(self, field)
        if old not in ("", value):
            raise InputError(f"{flag} = {value}: {self.name} says {old}. Leave {flag} out.")
        rest = tuple(note for note in self.assumed if note.name != field)
        changes: dict[str, Any] = {field: value, "assumed": rest}
        return replace(self, **changes)

    def cells(self) -> dict[str, str]:
        """The run as a row of a table of closed-loop serving runs, by HEADER; what is not known is blank."""
        held = dict(self.layout)
        values: dict[str, Any] = {
            "batch_size": self.concurrency / held.get("attention_dp_size", 1) if self.mode == "agg" else None,
            **{name: getattr(self, name) for name in HEADER if hasattr(self, name)},
            **held,
            "notes": self.measured_as,
        }
        return {name: "" if values.get(name) is None else str(values[name]) for name in HEADER}
