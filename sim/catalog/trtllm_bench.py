"""Reports of `trtllm-bench --report_json`: keys of TensorRT-LLM bench/dataclasses/reporting.py (2026)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import InputError
from .imported import Note
from .served import Served
from .serving_source import Shape, Source, run_of

MARKS = frozenset(("engine", "world_info", "request_info", "performance"))
_FORMATS = {"FP8": "fp8", "NVFP4": "fp4", "INT8": "int8", "W4A16": "int4", "BFLOAT16": "bf16", "FLOAT16": "fp16"}


def read(source: Source) -> Served:
    """A report. Without --streaming it has no time to the first token, and none is made up."""
    engine, world, asked = (_part(source, name) for name in ("engine", "world_info", "request_info"))
    streamed = _part(source, "streaming_metrics") if "streaming_metrics" in source.record else None
    source.used.update(("performance", "dataset"))
    shape = Shape(
        *(asked.need(name) for name in ("avg_input_length", "avg_output_length", "avg_num_concurrent_requests"))
    )
    degrees = {name: int(world.number(f"{name}_size") or 1) for name in ("tp", "pp", "ep")}
    times = (streamed.need("avg_ttft_ms"), streamed.number("avg_tpot_ms")) if streamed else (None, None)
    notes = () if streamed else (Note("streaming_metrics", "", "run without --streaming: no TTFT and no TPOT"),)
    model = engine.text("model", "model_path")
    run = run_of(source, ("trtllm-bench", model, "trtllm"), shape, (times[0] or 0.0, times[1]), degrees, notes)
    method = engine.text("quantization", "dtype").upper().replace("TORCH.", "")
    precision = next((name for mark, name in _FORMATS.items() if mark in method), "")
    version = engine.text("version")
    return replace(run, ttft_ms=times[0], precision=precision, engine_version=version, ignored=source.rest())


def _part(source: Source, name: str) -> Source:
    part: Any = source.record.get(name)
    source.used.add(name)
    if not isinstance(part, dict):
        raise InputError(f"{source.place}: {name} is no JSON object. Give what trtllm-bench wrote.")
    return Source(part, f"{source.place}: {name}", set())
