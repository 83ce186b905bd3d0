"""What a user's file said of a training run: model, plan, what was measured, and what became of each of its fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..errors import InputError
from .chips import DTYPES
from .library import Library
from .models import Attention, Dense, LatentAttention, Model, Moe
from .plans import Plan

HEADER = (
    *("id", "source", "year", "model", "layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "vocab"),
    *(
        "num_experts",
        "experts_per_token",
        "seq_len",
        "global_batch",
        "micro_batch",
        "precision",
        "device",
        "num_devices",
    ),
    *("TP", "PP", "VPP", "DP", "CP", "EP", "sharding", "sequence_parallel", "recompute", "attention"),
    *(
        "step_time_s",
        "tokens_per_s_per_device",
        "tflops_per_device",
        "derived",
        "notes",
        "plan_rest",
        "model_definition",
    ),
)
PLAN_REST = ("expert_tp", "shard_degree", "recompute_layers", "overlap", "offload", "optimizer", "dtypes")
PADDING = 0.02  # two vocabularies that differ by less are one, padded or not


class Said(NamedTuple):
    """A value as the file writes it, and its line."""

    text: str
    line: int


class Note(NamedTuple):
    """One field of the file: its name and value there, and what was made of it."""

    name: str
    value: str
    meaning: str


def with_lines(text: str, found: Iterable[re.Match[str]]) -> Iterator[tuple[int, re.Match[str]]]:
    """Matches in the order of a text, each with the line that it begins in."""
    line, at = 1, 0
    for each in found:
        line += text.count("\n", at, each.start())
        at = each.start()
        yield line, each


@dataclass(frozen=True)
class Imported:
    """One training run as a user's file tells it. step_time_s and tflops_per_device: measured, None where the file has none.

    devices: None where neither the file nor the user says how many; device: id of the chip, "" if unknown; precision: as
    tables write it, "unknown" where the file does not say. understood, assumed, ignored: every field of the file is in one.
    """

    kind: str
    name: str
    model: Model
    known: bool
    plan: Plan
    seq_len: int
    devices: int | None = None
    device: str = ""
    precision: str = "unknown"
    step_time_s: float | None = None
    tflops_per_device: float | None = None
    measured_as: str = ""
    understood: tuple[Note, ...] = ()
    assumed: tuple[Note, ...] = ()
    ignored: tuple[Note, ...] = ()

    def on(self, devices: int | None, ranks: int = 1) -> Imported:
        """The same run on so many chips of `ranks` ranks each. Raises InputError if the file says another number, or if the
        degrees do not divide it."""
        if devices is None:
            return self
        if self.devices is not None and devices != self.devices:
            raise InputError(f"--devices = {devices}: {self.name} says {self.devices}. Leave --devices out.")
        rest = tuple(note for note in self.assumed if note.name != "devices")
        return replace(self, devices=devices, plan=spread(self.plan, devices * ranks, self.name), assumed=rest)

    def at(self, device: str) -> Imported:
        """The same run on this chip. Raises InputError if the file names another."""
        if self.device not in ("", device):
            raise InputError(
                f"--cluster: its chip is {device}, but {self.name} says {self.device}. Leave --cluster out."
            )
        rest = tuple(note for note in self.assumed if note.name != "device")
        return replace(self, device=device, assumed=rest)

    def in_format(self, precision: str | None) -> Imported:
        """The same run with products in this format. Raises InputError if the file says another one, or for an unknown one."""
        if precision is None:
            return self
        if self.precision not in ("unknown", precision):
            raise InputError(f"--precision = {precision}: {self.name} says {self.precision}. Leave --precision out.")
        weights = next((dtype for dtype in DTYPES if dtype in precision.lower()), None)
        if weights is None:
            raise InputError(f"--precision = {precision!r} is not known. Use one of {', '.join(DTYPES)}.")
        plan = self.plan.with_(dtypes=self.plan.dtypes.with_(weights=weights))
        rest = tuple(note for note in self.assumed if note.name != "precision")
        return replace(self, precision=precision, plan=plan, assumed=rest)

    def scenario(self, model: str, cluster: str) -> dict[str, Any]:
        """The run as a flat scenario file; `model` and `cluster` are the names that the file uses."""
        return {
            "role": "train",
            "model": model,
            "cluster": cluster,
            **({"devices": self.devices} if self.devices else {}),
            "plan": self.plan.model_dump(mode="json", exclude_defaults=True),
            "demand": {"kind": "tokens", "seq_len": self.seq_len},
        }

    def cells(self) -> dict[str, str]:
        """The run as a row of a table of training runs, by HEADER; cells that nothing is known of are blank."""
        plan, batch = self.plan, self.plan.global_batch
        stated = self.kind != "mllog"  # whose lines leave these to what the reader of a table assumes
        rate = None
        if self.step_time_s and self.devices and batch:
            rate = batch * self.seq_len / self.step_time_s / self.devices
        values: dict[str, Any] = {
            "id": self.model.id + ("-lora" if plan.trainable == "lora" else ""),
            "source": self.kind,
            "model": self.model.id,
            **_dimensions(self.model),
            "seq_len": self.seq_len,
            "global_batch": batch,
            "micro_batch": plan.micro_batch,
            "precision": self.precision,
            "device": self.device,
            "num_devices": self.devices,
            "TP": plan.tp,
            "PP": plan.pp,
            "VPP": plan.virtual_stages,
            "DP": plan.dp,
            "CP": plan.cp,
            "EP": plan.ep,
            "sharding": plan.sharding if stated else "",
            "sequence_parallel": ("yes" if plan.sequence_parallel else "no") if stated else "",
            "recompute": "unknown" if plan.recompute == "auto" else plan.recompute,
            "attention": ("flash" if plan.flash_attention else "unfused") if stated else "",
            "step_time_s": self.step_time_s,
            "tokens_per_s_per_device": rate,
            "tflops_per_device": self.tflops_per_device,
            "derived": "" if rate is None else "tokens_per_s_per_device",
            "notes": self.measured_as,
            "plan_rest": plan_rest(plan, stated),
            "model_definition": "" if self.known else self.model.model_dump_json(exclude_none=True),
        }
        return {name: "" if values.get(name) is None else _text(values[name]) for name in HEADER}


def spread(plan: Plan, ranks: int, name: str) -> Plan:
    """The plan with the data-parallel degree that so many ranks leave. Raises InputError if they leave none."""
    group = plan.tp * plan.pp * plan.cp
    if ranks % group:
        raise InputError(
            f"{name}: tp * pp * cp = {plan.tp} * {plan.pp} * {plan.cp} = {group} does not divide {ranks} ranks. "
            "Mend a degree or the number of devices."
        )
    return plan.with_(dp=ranks // group)


def known_model(library: Library, model: Model) -> Model | None:
    """The catalogue's model with these dimensions; biases and the vocabulary's padding do not tell models apart, nor does a
    vocabulary that is not stated (0). Of several, the one with the nearest vocabulary and the shortest id."""
    found = []
    for entry in library.entries("model"):
        other = library.model(entry.id)
        if (other.layers, other.hidden, other.tied) != (model.layers, model.hidden, model.tied):
            continue
        apart = abs(other.vocab - model.vocab) if model.vocab else 0
        if apart <= PADDING * other.vocab and _shapes(other) == _shapes(model):
            found.append((apart, len(other.id), other.id))
    return library.model(min(found)[2]) if found else None


def plan_rest(plan: Plan, whole: bool) -> str:
    """What a table has no column for, as JSON; "" where all of it is as usual. whole: the plan is all that was to be known, so
    that nothing in it is left to what a reader of tables assumes."""
    rest = plan.model_dump(mode="json", include=set(PLAN_REST), exclude_defaults=True)
    dtypes = {name: value for name, value in rest.pop("dtypes", {}).items() if name != "weights"}
    if whole:
        dtypes["gradients"] = plan.dtypes.gradients
    rest |= {"dtypes": dtypes} if dtypes else {}
    return json.dumps(rest) if rest else ""


def with_rest(plan: Plan, text: str, place: str) -> Plan:
    """A plan with what `plan_rest` wrote. Raises InputError for text that is no such JSON."""
    try:
        rest = json.loads(text)
        return plan.with_(**{**rest, "dtypes": plan.dtypes.with_(**rest.get("dtypes", {}))})
    except (ValueError, TypeError, AttributeError):  # pydantic's errors are ValueErrors
        raise InputError(
            f"{place}: plan_rest = {text!r} holds no fields of a plan. Mend it, or empty the cell."
        ) from None


def defined_model(text: str, place: str) -> Model:
    """A model written out as JSON in a cell. Raises InputError for text that is none."""
    try:
        return Model.model_validate_json(text)
    except ValidationError:
        raise InputError(
            f"{place}: model_definition holds no model. Import the file again, or empty the cell."
        ) from None


def _shapes(model: Model) -> dict[tuple[Any, ...], int]:
    """How many layers of each shape."""
    found: dict[tuple[Any, ...], int] = {}
    for block in model.blocks:
        mixer, ffn = block.mixer, block.ffn
        parts = [part.model_dump(exclude={"bias", "shared_experts"}) if part else {} for part in (mixer, ffn)]
        key = tuple(tuple(sorted(part.items())) for part in parts)
        found[key] = found.get(key, 0) + block.layers
    return found


def _dimensions(model: Model) -> dict[str, Any]:
    """Columns of the block with most layers."""
    block = max(model.blocks, key=lambda each: each.layers)
    mixer, ffn = block.mixer, block.ffn
    moe = ffn if isinstance(ffn, Moe) else None
    softmax = mixer if isinstance(mixer, Attention) else None
    return {
        "layers": model.layers,
        "hidden": model.hidden,
        "ffn": ffn.width if isinstance(ffn, Dense | Moe) else None,
        "heads": mixer.heads if isinstance(mixer, Attention | LatentAttention) else None,
        "kv_heads": softmax.kv_heads if softmax else None,
        "head_dim": softmax.head_dim if softmax else None,
        "vocab": model.vocab,
        "num_experts": moe.experts if moe else None,
        "experts_per_token": moe.topk if moe else None,
    }


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
