"""Search over training plans: how many plans that fit are ranked a second, and the tools that are installed on the same rows.

The search: every legal plan of GPT-3 175B on 512 A100 with a batch of 2,048 sequences, process CPU time on one core after
compiling, from enumeration to the ranked result. Peers: mean error on the dense GPU rows of the shipped table that the tool
answers, beside ours on the same rows, and rows a second of each.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from sim import api
from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.catalog.scenarios import Group, Scenario, TokenBudget
from sim.catalog.targets import target
from sim.evidence.context import Context
from sim.evidence.rules import training_tiers
from sim.evidence.tables import Row, Table
from sim.evidence.training_rows import predict
from sim.evidence.validate import shipped_tables
from sim.studies.search import Question, search

SAMPLE = 2000
GPUS = {"A100-SXM-80GB": "a100-sxm-80gb", "H100-SXM-80GB": "h100-sxm-80gb", "V100-SXM2-32GB": "v100-sxm-32gb"}


def searched() -> None:
    """The search, its speed and memory, and its winner against `api.train` on a sample."""
    library = default_library()
    model, a100 = library.model("gpt-3-175b"), target(library, "dgx-a100", None, "train")
    question = Question(model, a100, 512, Plan(global_batch=2048), 2048)
    search(question)
    begin = time.process_time()
    found = search(question)
    took = time.process_time() - begin
    print(
        f"search, GPT-3 175B on 512 A100: {found.legal:,} legal plans, {found.pruned:,} pruned by memory, "
        f"{found.beaten:,} by the least time of their stages, {len(found.rows):,} swept, in {took:.2f} s"
    )
    print(f"  plans that fit, decided           {(found.beaten + len(found.rows)) / took:>12,.0f} plans/s")
    print(
        f"  most memory of this process       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:>12.2f} GiB"
    )
    places = np.random.default_rng(0).choice(len(found.rows), min(SAMPLE, len(found.rows)) - 1, replace=False)
    begin = time.process_time()
    steps = [_step_s(found.plan(int(place))) for place in (0, *places)]
    alone = time.process_time() - begin
    print(f"  api.train, plan after plan        {len(steps) / alone:>12,.0f} plans/s")
    same = steps[0] == min(steps)
    print(f"  the winner is also that of api.train on {len(steps):,} of the plans: {'yes' if same else 'NO'}")


def _step_s(plan: Plan) -> float:
    group = Group(role="train", model="gpt-3-175b", cluster="dgx-a100", devices=512, plan=plan)
    return api.train(Scenario(groups=(group,), demand=TokenBudget(seq_len=2048))).figures["step_time"].value or math.nan


def peers() -> None:
    """Each tool that is installed, on the dense GPU rows of the shipped training table."""
    tables = [table for table in shipped_tables(default_library(), "training") if table.kind.name == "training"]
    table = next(table for table in tables if "D" in training_tiers(table))
    chosen = [i for i, tier in enumerate(training_tiers(table)) if tier == "D"]
    rows = list(table.rows())
    for name, module, answer in (
        ("llm-analysis", "llm_analysis", _llm_analysis),
        ("Calculon", "calculon", None),
        ("SimuMax", "simumax", None),
    ):
        if find_spec(module) is None:
            print(f"{name}: not run: it is not installed")
        elif answer is None:
            print(f"{name}: not run: no adapter for its configuration files")
        else:
            _scored(name, answer, [(i, rows[i]) for i in chosen], table)


def _scored(name: str, answer: Callable[[Row], float | str], rows: list[tuple[int, Row]], table: Table) -> None:
    begin = time.process_time()
    theirs = [(index, row, answer(row)) for index, row in rows]
    took = time.process_time() - begin
    ours = predict(table.configuration(), Context(), lambda done, total: None).values["step_time_s"]
    answered = [(i, row, value) for i, row, value in theirs if isinstance(value, float)]
    measured = {i: _measured_s(row) for i, row, _ in answered}
    pairs = [(i, value) for i, _, value in answered if measured[i] is not None]
    errors = [abs(value / (measured[i] or 1.0) - 1.0) for i, value in pairs]
    own = [abs(ours[i] / (measured[i] or 1.0) - 1.0) for i, _ in pairs]
    print(f"{name}: {len(pairs)} of {len(rows)} dense GPU rows, {len(rows) / max(took, 1e-9):,.0f} rows/s")
    print(f"  mean / median error: {np.mean(errors):.1%} / {np.median(errors):.1%}")
    print(f"  ours on the same rows: {np.mean(own):.1%} / {np.median(own):.1%}")


def _measured_s(row: Row) -> float | None:
    """Seconds of a step as the row measured them, from its step time or its tokens a second."""
    cells = row.cells
    if cells.get("step_time_s"):
        return float(cells["step_time_s"])
    rate = cells.get("tokens_per_s_per_device")
    if not rate:
        return None
    return float(cells["global_batch"]) * float(cells["seq_len"]) / float(rate) / float(cells["num_devices"])


def _llm_analysis(row: Row) -> float | str:
    """Seconds of a step by llm-analysis with half of the peak as its FLOP efficiency, or why it gives none."""
    config, analysis = import_module("llm_analysis.config"), import_module("llm_analysis.analysis")
    config.logger.setLevel("CRITICAL")
    device = GPUS.get(row.text("device"))
    if device is None:
        return "no such GPU"
    need: Callable[[str], int] = row.need
    heads = row.count("heads")
    if heads is None:
        return "no heads"
    cells: dict[str, Any] = {"TP": row.count("TP") or 1, "PP": row.count("PP") or 1, "DP": row.count("DP") or 1}
    try:
        engine = analysis.LLMAnalysis(
            config.ModelConfig(
                row.text("model"),
                need("layers"),
                heads,
                need("hidden"),
                row.count("vocab") or 50257,
                need("seq_len"),
                row.count("kv_heads"),
                None,
                need("ffn"),
                need("ffn") / need("hidden"),
            ),
            config.get_gpu_config_by_name(device),
            config.get_dtype_config_by_name("w16a16e16"),
            config.ParallelismConfig(cells["TP"], cells["PP"], cells["DP"], 1, cells["TP"]),
            flops_efficiency=0.5,
        )
        full = row.text("recompute").lower() == "full"
        found = engine.training(
            batch_size_per_gpu=row.count("micro_batch") or 1,
            global_batch_size=need("global_batch"),
            seq_len=need("seq_len"),
            activation_recomputation=analysis.ActivationRecomputation.FULL
            if full
            else analysis.ActivationRecomputation.NONE,
            ds_zero=analysis.DSZeRO.STAGE_1,
        )
    except (AssertionError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        return f"{type(error).__name__}: {error}"
    return float(found["latency_per_iter"])


if __name__ == "__main__":
    searched()
    peers()
    sys.stdout.flush()
