"""Settings of published closed-loop runs that no column of their table holds: how long engines were told to gather requests.

The scripts of InferenceMAX (https://github.com/InferenceMAX/InferenceMAX, benchmarks, 2025) start TensorRT-LLM with
batch_wait_timeout_iters 20 for Llama 70B at 1024 tokens in and out on fewer than eight GPUs, and SGLang on Blackwell with
scheduler-recv-interval 10 below 16 clients and 30 from there on.
"""

from __future__ import annotations

from .context import Context
from .tables import Row

GATHER_STEPS = 20.0
FEW, MANY, FROM = 10.0, 30.0, 16
_LLAMA, _SPAN, _BLACKWELL = "llama-3.1-70b", 8, "blackwell"


def waited_steps(row: Row, context: Context) -> float:
    """Decode steps for which an engine leaves a request aside before it looks at it, on average. A step of TensorRT-LLM that
    waits for more prompts waits its whole limit, as these runs never fill it; one of SGLang comes halfway between two looks."""
    engine, chip = row.text("engine"), context.chip(row.text("device"))
    if engine == "sglang" and _BLACKWELL in chip.generation:
        return (FEW if row.need("concurrency") < FROM else MANY) / 2.0
    model = context.model_named(row.text("model"))
    short = row.need("input_tokens") == row.need("output_tokens") == 1024 and (row.count("tp_size") or 1) < _SPAN
    return GATHER_STEPS if engine == "trtllm" and short and model is not None and model.id == _LLAMA else 0.0
