"""Results of MLPerf Training: lines `:::MLLOG {json}` -> one training run. Keys: mlcommons/logging, mllog/constants.py (2026)."""

from __future__ import annotations

import json
import math
import re
import statistics
from typing import Any, NamedTuple

from ..errors import InputError
from .imported import Imported, Note, Said, spread
from .library import Library, normal
from .models import Model
from .plans import Dtypes, Plan

MARK = ":::MLLOG"
BENCHMARKS = {  # submission_benchmark -> model of the catalogue, tokens of a sequence (MLPerf Training rules)
    "gpt3": ("gpt-3-175b", 2048),
    "llama2_70b_lora": ("llama-2-70b", 8192),
    "llama31_8b": ("llama-3.1-8b", 8192),
    "llama31_405b": ("llama-3.1-405b", 8192),
    "bert": ("bert-large", 512),
}
LARGE, LEAST_STEP_S = 1e9, 0.05  # no model of so many parameters has taken a shorter step: such a rate counts tokens
SKEW_S = 60.0  # ranks that log one event do so within a minute
LORA_RANK = 16  # MLPerf Training rules, llama2_70b_lora
DEGREES = {
    "tensor_parallelism": "tp",
    "pipeline_parallelism": "pp",
    "context_parallelism": "cp",
    "expert_parallelism": "ep",
    "micro_batch_size": "micro_batch",
    "global_batch_size": "global_batch",
}
_FORMATS = (("nvfp4", "fp4"), ("mxfp4", "fp4"), ("fp4", "fp4"), ("mxfp8", "fp8"), ("fp8", "fp8"), ("bf16", "bf16"))
_EVENTS = frozenset(
    (
        *(
            "tracked_stats",
            "train_loss",
            "eval_accuracy",
            "eval_loss",
            "eval_start",
            "eval_stop",
            "run_start",
            "run_stop",
        ),
        *("block_start", "block_stop", "epoch_start", "epoch_stop", "init_start", "init_stop", "cache_clear"),
    )
)


class Event(NamedTuple):
    """One line: key, value, metadata, its time in seconds, and its line in the file."""

    key: str
    value: Any
    metadata: dict[str, Any]
    time_s: float
    line: int

    @property
    def samples(self) -> float | None:
        """Samples seen so far, where the line says so under one of the names that are in use."""
        for name in ("samples_count", "epoch_num", "step", "first_epoch_num"):
            value = self.metadata.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        return None


def looks_like(text: str) -> bool:
    """Does a text hold lines of mllog?"""
    return MARK in text


def imported_from(text: str, name: str, library: Library, model: str | None = None) -> Imported:
    """The run of a result file of MLPerf Training; `name` stands for the file in errors.

    model: the catalogue's name for it, where the benchmark is not known. Raises InputError with file, line and value.
    """
    events = events_of(text, name)
    run = _Run(events, name)
    found, seq_len = run.subject(library, model)
    plan, devices = run.plan(seq_len), run.devices(library)
    if devices is not None:
        plan = spread(plan, devices * _ranks(library, run.device(library)), name)
    step_s, how = run.step_s(found, seq_len)
    return Imported(
        kind="mllog",
        name=name,
        model=found,
        known=True,
        plan=plan,
        seq_len=seq_len,
        devices=devices,
        device=run.device(library),
        precision=run.precision(),
        step_time_s=step_s,
        measured_as=how,
        understood=tuple(run.understood.values()),
        assumed=tuple(dict.fromkeys(run.assumed)),
        ignored=run.rest(),
    )


def events_of(text: str, name: str) -> list[Event]:
    """Every event in the order of its time; what several ranks log alike, within SKEW_S, stands once, at its first time.

    Raises InputError with file and line for a line that is no event.
    """
    logged = []
    for number, line in enumerate(text.splitlines(), start=1):
        at = line.find(MARK)
        if at >= 0:
            logged.append(_event(line[at + len(MARK) :], number, f"{name}:{number}"))
    events, last = [], dict[tuple[str, ...], float]()
    for event in sorted(logged, key=lambda event: (event.time_s, event.line)):
        told = {key: value for key, value in event.metadata.items() if key not in ("file", "lineno", "rank")}
        same = (event.key, json.dumps(event.value, sort_keys=True), json.dumps(told, sort_keys=True))
        if event.time_s - last.get(same, -math.inf) > SKEW_S:
            events.append(event)
            last[same] = event.time_s
    return events


def _event(text: str, line: int, place: str) -> Event:
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError
        key, time_ms = data["key"], data["time_ms"]
    except (ValueError, KeyError, RecursionError):
        shown = text.strip()[:60]
        raise InputError(
            f"{place}: {shown!r} is no JSON object with key and time_ms. Mend the line, or remove it."
        ) from None
    number = isinstance(time_ms, int | float) and not isinstance(time_ms, bool)
    if not isinstance(key, str) or not number or not abs(time_ms) < 1e18:
        shown = json.dumps(time_ms) if not isinstance(time_ms, int) or abs(time_ms) < 10**40 else "without end"
        raise InputError(f"{place}: key = {key!r}, time_ms = {shown}: a text and a number are expected. Mend the line.")
    metadata = data.get("metadata")
    return Event(key, data.get("value"), metadata if isinstance(metadata, dict) else {}, time_ms / 1e3, line)


class _Run:
    """The events of one run, and what became of each key."""

    def __init__(self, events: list[Event], name: str) -> None:
        self.name, self.events = name, events
        self.understood: dict[str, Note] = {}
        self.assumed: list[Note] = []
        self.values: dict[str, Said] = {}
        for event in events:
            if event.key not in _EVENTS and event.value is not None:
                self._set(event)
        stops = [event for event in events if event.key == "run_stop"]
        late = next((e for e in events if e.key == "run_start" and stops and e.time_s > stops[0].time_s), None)
        if late is not None:
            raise InputError(
                f"{name}:{late.line}: a second run starts after the first stopped (line {stops[0].line}). Split the file."
            )

    def _set(self, event: Event) -> None:
        text = event.value if isinstance(event.value, str) else json.dumps(event.value)
        earlier = self.values.setdefault(event.key, Said(text, event.line))
        if earlier.text != text and event.key in DEGREES:
            raise InputError(
                f"{self.name}:{event.line}: {event.key} = {text}, but {earlier.text} in line {earlier.line}: two runs. "
                "Split the file."
            )

    def text(self, key: str, becomes: str) -> str | None:
        if key not in self.values:
            return None
        self.understood[key] = Note(key, self.values[key].text, becomes)
        return self.values[key].text

    def count(self, key: str, becomes: str) -> int | None:
        """A whole number of at least 1. Raises InputError for anything else."""
        text = self.text(key, becomes)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not (1 <= value < 1e12) or value != int(value):
            raise InputError(
                f"{self.name}:{self.values[key].line}: {key} = {text!r} is not a whole number above 0. Mend it."
            )
        return int(value)

    def assume(self, name: str, value: str, why: str) -> None:
        self.assumed.append(Note(name, value, why))

    def subject(self, library: Library, given: str | None) -> tuple[Model, int]:
        """The model and the tokens of a sequence."""
        benchmark = self.text("submission_benchmark", "model")
        if given is None and benchmark is None:
            raise InputError(f"{self.name}: no submission_benchmark is logged. Say which model it is: --model ID.")
        wanted, usual = BENCHMARKS.get(benchmark or "", (normal(benchmark or ""), None))
        try:
            model = library.model(given or wanted)
        except InputError:
            if given is not None:
                raise
            raise InputError(
                f"{self.name}:{self.values['submission_benchmark'].line}: submission_benchmark = {benchmark!r} names no "
                "transformer of the catalogue. Say which model it is: --model ID."
            ) from None
        seq_len = self.count("max_sequence_length", "demand.seq_len")
        if seq_len is None:
            if usual is None:
                raise InputError(f"{self.name}: max_sequence_length is not logged. Add it as an mllog line.")
            seq_len = usual
            self.assume("max_sequence_length", str(usual), f"the rules of MLPerf Training for {benchmark}")
        return model, seq_len

    def plan(self, seq_len: int) -> Plan:
        found: dict[str, Any] = {}
        for key, field in DEGREES.items():
            value = self.count(key, f"plan.{field}")
            if value is not None:
                found[field] = value
            elif field in ("tp", "pp", "micro_batch"):
                self.assume(key, "1", "not logged")
        if "global_batch" not in found:
            raise InputError(f"{self.name}: global_batch_size is not logged. Add it as an mllog line.")
        lora = "lora" in (self.values["submission_benchmark"].text if "submission_benchmark" in self.values else "")
        if lora:
            found |= {"trainable": "lora", "lora_rank": LORA_RANK}
            self.assume("lora_rank", str(LORA_RANK), "the rules of MLPerf Training")
        precision = dict(_FORMATS).get(self.precision(), "bf16")
        self.assume("sharding", "zero1", "mllog does not say: a distributed optimizer")
        self.assume("recompute", "auto", "mllog does not say: what memory asks for")
        return Plan(**found, dtypes=Dtypes.model_validate({"weights": precision}))

    def precision(self) -> str:
        """Format that products ran in, where a key or the name of the configuration says it."""
        for key in ("precision", "config_filename", "submission_config"):
            text = self.values[key].text.lower() if key in self.values else ""
            for written, _ in _FORMATS:
                if written in text:
                    self.text(key, "plan.dtypes.weights")
                    return written
        self.assume("precision", "bf16", "mllog does not say; many submissions ran fp8 or fp4: give --precision")
        return "unknown"

    def device(self, library: Library) -> str:
        """Id of the chip whose name the platform holds, the longest one; "" if none is."""
        platform = self.text("submission_platform", "device")
        words = re.sub(
            r"(?<![a-z0-9])(?:\d+x|[dh]gx)(?=[a-z])", "-", re.sub(r"[^a-z0-9]+", "-", (platform or "").lower())
        )
        names = {normal(name): entry.id for entry in library.entries("chip") for name in entry.names}
        here = [
            name for name in names if re.search(rf"(?<![a-z]){re.escape(name)}(?![0-9a-z])", words) and len(name) > 2
        ]
        if not here:
            self.assume("device", "", "no chip of the catalogue is named: give --cluster")
            return ""
        return names[max(here, key=len)]

    def devices(self, library: Library) -> int | None:
        """Chips of the run: logged, or what batch, accumulation and degrees multiply out to."""
        ranks = self.count("number_of_ranks", "devices")
        if ranks is not None:
            return ranks // _ranks(library, self.device(library))
        steps = self.count("gradient_accumulation_steps", "plan.dp")
        batch, micro = self.count("global_batch_size", "plan.global_batch"), self.values.get("micro_batch_size")
        if steps is None or batch is None or micro is None:
            self.assume("devices", "", "not logged: give --devices")
            return None
        each = (self.count("micro_batch_size", "plan.micro_batch") or 1) * steps
        if batch % each:
            raise InputError(
                f"{self.name}:{self.values['gradient_accumulation_steps'].line}: gradient_accumulation_steps = {steps}: "
                f"micro_batch_size * steps = {each} does not divide global_batch_size = {batch}. Mend one of them."
            )
        degrees = [self.count(key, f"plan.{DEGREES[key]}") or 1 for key in list(DEGREES)[:3]]
        ranks = batch // each * degrees[0] * degrees[1] * degrees[2]
        chips = ranks // _ranks(library, self.device(library))
        self.assume("devices", str(chips), "global_batch / (micro_batch * accumulation steps) * tp * pp * cp")
        return chips

    def step_s(self, model: Model, seq_len: int) -> tuple[float | None, str]:
        """Seconds of a step and how they were told: logged step times or throughput (their median after the first), else
        blocks between evaluations, else the whole run."""
        batch = float(self.values["global_batch_size"].text)
        large = (model.published_parameters or 0.0) > LARGE
        times = self._numbers("train_step_time", "train_step_timing", "train_step_timing in s")
        if times:
            kept = times[1:] or times
            return statistics.median(kept), f"median of {len(kept)} logged step times"
        blocks = self._block_rates(batch)
        for what, rates in (
            ("logged throughputs", self._numbers("throughput")),
            ("blocks between evaluations", blocks),
        ):
            if rates:
                kept = rates[1:] or rates
                step_s, unit = batch / statistics.median(kept), "samples"
                if large and step_s < LEAST_STEP_S:
                    step_s, unit = step_s * seq_len, "tokens"
                    self.assume(what, unit, f"as samples a step would take {step_s / seq_len:.2g} s")
                return step_s, f"median of {len(kept)} {what}, in {unit} a second"
        return self._whole_run_s(batch)

    def _stats(self) -> list[Event]:
        stats = [event for event in self.events if event.key == "tracked_stats" and isinstance(event.value, dict)]
        if stats:
            self.understood["tracked_stats"] = Note("tracked_stats", f"{len(stats)} lines", "step_time_s")
        return stats

    def _numbers(self, *names: str) -> list[float]:
        found = []
        for event in self._stats():
            for name in names:
                value = event.value.get(name)
                if value is None:
                    continue
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                    raise InputError(
                        f"{self.name}:{event.line}: {name} = {value!r} is not a number above 0. Mend the line."
                    )
                found.append(float(value))
        return found

    def _read(self, *keys: str) -> None:
        for key in keys:
            count = sum(event.key == key for event in self.events)
            if count:
                self.understood[key] = Note(key, f"{count} lines", "step_time_s")

    def _block_rates(self, batch: float) -> list[float]:
        """Samples a second of each block of training; counts that advance by less than a step count something else."""
        self._read("block_start", "block_stop")
        rates, start = [], None
        for event in self.events:
            if event.key == "block_start":
                start = event
            elif event.key == "block_stop" and start is not None:
                begun, ended = start.samples, event.samples
                if begun is not None and ended is not None and ended - begun >= batch and event.time_s > start.time_s:
                    rates.append((ended - begun) / (event.time_s - start.time_s))
                start = None
        return rates

    def _whole_run_s(self, batch: float) -> tuple[float | None, str]:
        self._read("run_start", "run_stop")
        start = next((event for event in self.events if event.key == "run_start"), None)
        stop = next((event for event in self.events if event.key == "run_stop"), None)
        if start is None or stop is None:
            return None, ""
        seen = [each.samples for each in self.events if each.samples is not None and each.time_s <= stop.time_s]
        samples = max(seen, default=0.0) - min(seen, default=0.0)
        if samples < batch or stop.time_s <= start.time_s:
            return None, ""
        self.assume("step_time_s", "", "run_stop - run_start over the steps: evaluations are in it")
        return (stop.time_s - start.time_s) * batch / samples, "the whole run, with its evaluations"

    def rest(self) -> tuple[Note, ...]:
        """Keys that nothing was made of, then events by their number."""
        found = [Note(key, said.text, "not used") for key, said in self.values.items() if key not in self.understood]
        counts: dict[str, int] = {}
        for event in self.events:
            if event.key in _EVENTS and event.key not in self.understood:
                counts[event.key] = counts.get(event.key, 0) + 1
        return (*found, *(Note(key, f"{count} lines", "not used") for key, count in counts.items()))


def _ranks(library: Library, device: str) -> int:
    return library.chip(device).ranks if device else 1
