"""Summaries of llmperf (`*_summary.json`): keys of its common_metrics.py and token_benchmark_ray.py (2024); times in seconds."""

from __future__ import annotations

from .imported import Note
from .served import Served
from .serving_source import Shape, Source, run_of

MARKS = frozenset(("results_ttft_s_mean", "num_concurrent_requests"))


def read(source: Source) -> Served:
    """A summary. Its inter-token latency counts the first token as a gap; TPOT is taken from the end-to-end latency."""
    given = source.need("results_number_input_tokens_mean", "mean_input_tokens")
    made = source.need("results_number_output_tokens_mean", "mean_output_tokens")
    ttft_s, whole_s = source.need("results_ttft_s_mean"), source.need("results_end_to_end_latency_s_mean")
    tpot_s = max(0.0, whole_s - ttft_s) / (made - 1.0) if made > 1.0 else None
    note = Note("tpot", "end to end less TTFT", "results_inter_token_latency_s counts the first token as a gap")
    return run_of(
        source,
        ("llmperf", source.text("model"), ""),
        Shape(given, made, source.need("num_concurrent_requests")),
        (ttft_s * 1e3, None if tpot_s is None else tpot_s * 1e3),
        {},
        (note,),
    )
