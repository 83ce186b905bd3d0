"""Rows of closed-loop serving runs -> one simulated replica, or prefill and decode workers as a closed queueing network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .. import cost
from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..catalog.library import cluster_of
from ..catalog.models import Model, Moe
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..catalog.traffic import Requests, closed_loop
from ..lowering import check
from ..seeds import generator
from ..serving.pack import Pack, pack
from ..serving.queueing import closed_network
from ..serving.run import Served, simulate
from ..serving.steady import Replica
from .bench_settings import waited_steps
from .context import Context
from .predictions import Answer, Predictions, Progress, predict_rows
from .row_models import padded
from .serving_stacks import dtypes_of, serving_stack, with_scales
from .tables import FloatArray, Row, Skip, Table

NOMINAL = (1024, 8192)  # lengths that stand for a uniform draw between 0.8 and 1.0 of them
SPREAD = 0.2
ROUNDS = 10  # requests that a client sends
LONGEST = 32768  # tokens of the longest request that a pack is made for
INTERVAL = (0.5, 2.0)  # where nothing better is known: a factor of two either way

# engines whose runs of 8-bit and 4-bit checkpoints keep KV in 8 bits: at the highest concurrencies in memory nothing else
# fits as many sequences as ran at once
EIGHT_BIT_KV = ("trtllm", "vllm")

_OF_LOAD = ("concurrency", "decode_batch_size", "ttft_ms", "tpot_ms", "source", "licence", "notes")
Packs = dict[object, Pack]


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """TTFT and TPOT [ms] as the clients of every row see them."""
    packs: Packs = {}
    replicas: dict[object, Replica] = {}
    widest = _widest(table)

    def answer(row: Row) -> Answer:
        target = target_of(row, context)
        if row.text("mode") == "disagg":
            values = _disaggregated(row, target, _batch_limit(row, widest), (context, replicas))
        else:
            values = _aggregated(row, context, target, packs)
        return Answer(values, target.calibration.basis, *interval_of(target.stack))

    return predict_rows(table, answer, progress)


def interval_of(stack: Stack, metric: str = "ttft") -> tuple[float, float]:
    """Factors of the interval that is to hold 80%: quantiles of runs that no fit had seen; metric: ttft or tpot."""
    known = stack.residuals
    if f"{metric}_p10" not in known:
        return INTERVAL
    return math.exp(known[f"{metric}_p10"]), math.exp(known[f"{metric}_p90"])


def target_of(row: Row, context: Context) -> Target:
    """Chip, its own ports, and the engine's stack."""
    chip = context.chip(row.text("device"))
    stack = serving_stack(context, chip, row.text("engine"))
    return Target(chip, context.family(chip), cluster_of(chip), stack, context.calibration(chip, stack))


def model_named(row: Row, context: Context) -> Model:
    """The row's model. Raises Skip if the catalogue lacks it."""
    model = context.model_named(row.text("model"))
    if model is None:
        raise Skip(f"model {row.text('model')!r} is not in the catalogue")
    return with_scales(model, row.text("gemm_quant_mode"), row.text("moe_quant_mode"))


def worker(row: Row, prefix: str, model: Model, chip: Chip) -> tuple[Model, Plan]:
    """(padded model, plan) of one worker; prefix: "", "prefill_" or "decode_". A blank or zero degree counts as 1; beside
    attention data parallelism experts lie whole on its ranks, where their degrees are not stated or no expert parallelism is."""
    tp, pp, dp, moe_tp, moe_ep = (
        row.count(prefix + name) or 1
        for name in ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    spans = moe_tp * moe_ep == tp * dp  # else the degrees of the experts are not stated
    if dp > 1 and (moe_ep == 1 or not spans) and any(isinstance(block.ffn, Moe) for block in model.blocks):
        spans, moe_tp, moe_ep = True, 1, tp * dp
    kv_cache = "fp8" if row.text("precision") in ("fp8", "fp4") and row.text("engine") in EIGHT_BIT_KV else ""
    plan = Plan(
        tp=tp,
        pp=pp,
        attention_dp=dp,
        ep=moe_ep if spans and moe_ep > 1 else 1,
        expert_tp=moe_tp if spans and moe_ep > 1 else None,
        dtypes=dtypes_of(model, chip, row.text("precision") or "bf16", "", kv_cache),
    )
    fitted = padded(model, tp, plan.ep)
    check(fitted, plan, training=False)
    return fitted, plan


def lengths(row: Row) -> tuple[int, int, float]:
    """Nominal tokens in and out, and the share by which drawn ones fall short of them at most."""
    given, made = row.need("input_tokens"), row.need("output_tokens")
    return given, made, SPREAD if given in NOMINAL and made in NOMINAL else 0.0


def _aggregated(row: Row, context: Context, target: Target, packs: Packs) -> dict[str, float]:
    model, plan = worker(row, "", model_named(row, context), target.chip)
    given, made, spread = lengths(row)
    clients = row.need("concurrency")
    engine = Engine(max_num_seqs=max(clients, target.stack.engine.max_num_seqs or 1))
    key = (model, plan, target.chip.id, target.stack.id, engine)
    if key not in packs:
        packed = cost.machine(target.chip, target.family, target.calibration, target.cluster)
        packs[key] = pack(model, plan, target, engine, lambda rows: context.seconds(rows, packed), LONGEST)
    requests, first = closed_loop(clients, ROUNDS * clients, given, made, spread), 0
    if not spread:
        requests, first = staggered(requests, clients), clients
    times = times_of(simulate(packs[key], requests), first)
    return {**times, "ttft_ms": times["ttft_ms"] + waited_steps(row, context) * times["tpot_ms"]}


def staggered(requests: Requests, clients: int) -> Requests:
    """Equal requests of clients that do not start together: the first of each is the longer the later it comes."""
    made = requests.output_tokens.copy()
    made[:clients] = np.ceil(made[:clients] * (np.arange(clients) + 1.0) / clients)
    return replace(requests, output_tokens=made)


def times_of(served: Served, first: int) -> dict[str, float]:
    """Mean TTFT and TPOT [ms] of the requests from number `first` on. Raises Skip if none was served."""
    rows = np.flatnonzero(served.finished & (served.output_tokens > 1) & (np.arange(len(served.status)) >= first))
    if not rows.size:
        raise Skip(f"no request was served: {', '.join(served.refusals)}")
    began, made = served.first_token_s[rows], served.output_tokens[rows]
    each = (served.finish_s[rows] - began) / (made - 1)
    return {"ttft_ms": float((began - served.arrival_s[rows]).mean()) * 1e3, "tpot_ms": float(each.mean()) * 1e3}


def _sweep(row: Row) -> tuple[str, ...]:
    """What rows of one deployment under different loads share."""
    return tuple(text for name, text in sorted(row.cells.items()) if name not in _OF_LOAD)


def _widest(table: Table) -> dict[tuple[str, ...], int]:
    """Sequences of a decode worker's rank at the highest load that each deployment was measured at."""
    widest: dict[tuple[str, ...], int] = {}
    for row in table.rows():
        if row.text("mode") == "disagg":
            key = _sweep(row)
            widest[key] = max(widest.get(key, 0), row.count("decode_batch_size") or 0)
    return widest


def _batch_limit(row: Row, widest: dict[tuple[str, ...], int]) -> int | None:
    """Sequences that a decode worker of TensorRT-LLM without attention data parallelism runs at once: published runs raise the
    load just above the limit of the deployment, a power of two."""
    most = widest[_sweep(row)]
    limited = row.text("engine") == "trtllm" and (row.count("decode_attention_dp_size") or 1) == 1 and most
    return 2 ** int(math.log2(most)) if limited else None


def _disaggregated(
    row: Row, target: Target, limit: int | None, kept: tuple[Context, dict[object, Replica]]
) -> dict[str, float]:
    """Clients go round between the prompt workers, a queue, and the decode workers, where each one waits for its turn and its
    tokens. limit: sequences of a decode worker's rank that run at once."""
    model = model_named(row, kept[0])
    given, made, spread = lengths(row)
    given, made = round(given * (1.0 - spread / 2.0)), max(2, round(made * (1.0 - spread / 2.0)))
    clients = row.need("concurrency")
    prompt = replica_of(row, "prefill_", model, target, kept)
    decode = replica_of(row, "decode_", model, target, kept)
    passes_s = _passes_s(prompt, row.count("prefill_batch_size") or 1, given)
    prompters = row.count("prefill_num_workers") or 1
    decoders = row.count("decode_num_workers") or _implied_workers(row, clients, decode)
    shares = generator(0, "disaggregated").uniform(1.0 - spread, 1.0, (ROUNDS, clients)) / (1.0 - spread / 2.0)
    slots = clients if limit is None else min(clients, limit * decode.plan.attention_dp * decoders)
    running, host_s = slots, target.stack.request_host_s
    for _ in range(3):  # who waits for a prompt pass does not decode
        step_s = decode.decode_s(max(1, -(-running // decoders)), given + made / 2.0)
        away_s = step_s * (made - 1)
        waiting_s = closed_network(prompters, passes_s, away_s * shares + host_s, prompt.plan.attention_dp)
        running = max(1, min(slots, round(clients * away_s / (away_s + waiting_s + host_s))))
    first_s = waiting_s + host_s + target.stack.ahead_steps * step_s
    return {"ttft_ms": max(first_s, away_s * (clients / slots - 1.0)) * 1e3, "tpot_ms": step_s * 1e3}


def _passes_s(prompt: Replica, least: int, given: int) -> FloatArray:
    """Seconds of a pass of 1, 2, ... prompts of each attention-DP rank: as many as its token budget holds."""
    ranks = prompt.plan.attention_dp
    most = max(least, (prompt.engine.max_batched_tokens or given) // given)
    return np.array([prompt.prefill_s(each * ranks, given) for each in range(1, most + 1)])


def _implied_workers(row: Row, clients: int, decode: Replica) -> int:
    """Decode workers where they are not stated: clients over a worker's batch."""
    batch = row.count("decode_batch_size")
    return 1 if batch is None else max(1, round(clients / (batch * decode.plan.attention_dp)))


def replica_of(
    row: Row, prefix: str, model: Model, target: Target, kept: tuple[Context, dict[object, Replica]]
) -> Replica:
    """One worker as arithmetic; equal workers are made once. prefix: as in `worker`."""
    context, replicas = kept
    fitted, plan = worker(row, prefix, model, target.chip)
    engine = Engine(max_num_seqs=max(row.need("concurrency"), target.stack.engine.max_num_seqs or 1))
    key = (fitted, plan, target.chip.id, target.stack.id, engine)
    if key not in replicas:
        replicas[key] = Replica(fitted, plan, target, engine, context.seconds)
    return replicas[key]
