"""Rows of published inference results of all device families -> Replica arithmetic by phase."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..catalog.library import cluster_of
from ..catalog.models import Model
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..catalog.traffic import closed_loop
from ..cost import machine
from ..errors import Infeasible
from ..lowering import active_parameters, check
from ..serving.pack import pack
from ..serving.run import simulate
from ..serving.steady import Batch, Replica
from . import operator_rows
from .context import Context
from .predictions import Answer, Predictions, Progress, predict_rows
from .row_models import model_of, padded
from .serving_rows import LONGEST, ROUNDS, Packs, staggered, times_of
from .serving_stacks import dtypes_of, serving_stack
from .tables import Row, Skip, Table

CLOSED = ("closed-loop", "single client", "max load, server max batch")  # of policies: each client waits for its answer
ENCODER_TOKENS = 128  # sequence length of encoder benchmarks that state none
UNSTATED_TOKENS = 512  # prompt of latency bounds that state none; such rows are not scored
SPREAD = (0.5, 2.0)  # interval where nothing better is known: a factor of two either way


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Every row by its phase: prompt pass, decode step, encoder pass, or whole requests in static or in-flight batches."""
    packs: Packs = {}
    return predict_rows(table, lambda row: _answer(row, context, packs), progress)


def _answer(row: Row, context: Context, packs: Packs) -> Answer:
    phase = row.text("phase")
    if phase == "op":
        return operator_rows.answer(row, context)
    if phase == "train":
        raise Skip("training runs are no inference")
    chip = _alone(context.chip(row.text("device")), row)
    model = model_of(context, row, "moe_experts", "moe_topk", "moe_ffn")
    replica = _replica(row, context, model, chip)
    alone = {"encoder": _encoder, "prefill": _prefill, "decode": _decode}.get(phase)
    values = alone(row, replica) if alone else _requests(row, replica, packs)
    scale = _scale(row, replica, chip)
    for name in ("output_tokens_per_s", "input_tokens_per_s", "requests_per_s"):
        if name in values:
            values[name] *= scale
    tokens = values.get("input_tokens_per_s", 0.0) + values.get("output_tokens_per_s", 0.0)
    peak = chip.matmul_flops_per_s("bf16") * (row.count("num_devices") or 1)
    values["mfu_pct"] = 100.0 * 2.0 * active_parameters(model) * tokens / peak
    return Answer(values, replica.target.calibration.basis, *SPREAD)


def _replica(row: Row, context: Context, model: Model, chip: Chip) -> Replica:
    stack = serving_stack(context, chip, row.text("engine"), row.text("engine_version"))
    target = Target(chip, context.family(chip), cluster_of(chip), stack, context.calibration(chip, stack))
    machine(
        *target[:2], target.calibration, target.cluster
    )  # names a fact that the chip lacks before anything is priced
    dtypes = dtypes_of(model, chip, row.text("weight_dtype"), row.text("act_dtype"), row.text("kv_dtype"))
    spread = row.count("DP") or 1
    ep = row.count("EP") or 1
    engine = _engine(row, stack)
    degrees = _degrees(row, chip)
    pp = min(row.count("PP") or 1, model.layers)
    for tp in degrees:
        plan = Plan(tp=tp, pp=pp, ep=ep, attention_dp=spread if ep == spread else 1, dtypes=dtypes)
        fitted = padded(model, tp, ep)
        check(fitted, plan, training=False)
        replica = Replica(fitted, plan, target, engine, context.seconds)
        try:
            replica.capacity(1.0)
        except Infeasible:
            if tp == degrees[-1]:
                raise
            continue
        return replica
    raise Skip("no degree fits")


def _alone(chip: Chip, row: Row) -> Chip:
    """The chip as the only copy on it finds it: one rank has the memory of all to itself."""
    alone = _policy(row, r"copies=(\d+)") == 1 and row.count("TP") == 1
    if not alone and not _pipelined(row):
        return chip
    return chip.with_(memory=chip.memory.with_(bandwidth_bytes_per_s=chip.memory.bandwidth_bytes_per_s * chip.ranks))


def _policy(row: Row, *patterns: str) -> int | None:
    """A number of the batch policy, as configuration flags print it."""
    for pattern in patterns:
        match = re.search(pattern, row.text("batch_policy"))
        if match:
            return int(match[1])
    return None


def _engine(row: Row, stack: Stack) -> Engine:
    """Limits that the batch policy states; else the stack's, widened to the row's batch."""
    seqs = _policy(row, r"max-num-seqs (\d+)", r"server max batch (\d+)")
    tokens = _policy(row, r"max-num-batched-tokens (\d+)", r"chunked prefill (\d+) tokens")
    if seqs is None:
        seqs = max(_batch(row) or 1, stack.engine.max_num_seqs or 1)
    return Engine(max_num_seqs=seqs, max_batched_tokens=tokens)


def _degrees(row: Row, chip: Chip) -> list[int]:
    """The stated degree in ranks, then, should that not fit, in whole chips; unstated: powers of two up to all ranks."""
    stated, ranks = row.count("TP"), (row.count("num_devices") or 1) * chip.ranks
    if stated is None:
        return [2**e for e in range(ranks.bit_length())]
    return sorted({stated, min(max(stated, ranks), stated * chip.ranks)})


def _scale(row: Row, replica: Replica, chip: Chip) -> float:
    """The row's figure over one replica's: copies, or the part of a larger deployment that its devices are."""
    devices = row.count("num_devices") or 1
    if replica.chips > devices:
        return devices / replica.chips
    copies = _policy(row, r"copies=(\d+)")
    if copies:
        return float(copies)
    if "copies=n/a" in row.text("batch_policy") and not _pipelined(row):
        return float(devices * chip.ranks)
    if "single client" in row.text("batch_policy"):
        return 1.0
    if row.count("TP") is None and row.count("EP") is None:
        return max(1.0, devices // replica.chips)
    return 1.0 if replica.plan.attention_dp > 1 else float(row.count("DP") or 1)


def _batch(row: Row) -> int | None:
    """Sequences of one replica; None where the engine fills its memory (offline at full load)."""
    text = row.text("batch_or_concurrency")
    if not re.fullmatch(r"\d+(\.0*)?", text):
        return None
    return max(1, int(float(text)))


def _tokens(row: Row, column: str) -> int:
    value = row.number(column)
    if value is None:
        raise Skip(f"{column} is not stated")
    return max(1, round(value))


def _prompt_pass(replica: Replica, batch: int, tokens: int) -> dict[str, float]:
    """What one pass of `batch` prompts of `tokens` is measured by."""
    seconds = replica.prefill_s(batch, tokens)
    return {
        "prefill_latency_ms": seconds * 1e3,
        "ttft_ms_p50": seconds * 1e3,
        "input_tokens_per_s": batch * tokens / seconds,
        "requests_per_s": batch / seconds,
    }


def _pipelined(row: Row) -> bool:
    """Are the layers of one copy spread over all cores?"""
    return "Model Pipeline" in row.text("batch_policy")


def _encoder(row: Row, replica: Replica) -> dict[str, float]:
    tokens = round(row.number("input_tokens") or ENCODER_TOKENS)
    batch = _batch(row) or 1
    values = _prompt_pass(replica, batch, tokens)
    if _pipelined(row):  # a batch on every core that has layers
        ways = min((row.count("num_devices") or 1) * replica.target.chip.ranks, replica.model.layers)
        values.update({name: values[name] * ways for name in ("input_tokens_per_s", "requests_per_s")})
    waiting = _policy(row, r"workers/copy=(\d+)") or 1  # batches sent to a copy at once wait for each other
    return {**values, **{name: values[name] * waiting for name in ("prefill_latency_ms", "ttft_ms_p50")}}


def _prefill(row: Row, replica: Replica) -> dict[str, float]:
    tokens = round(row.number("input_tokens") or UNSTATED_TOKENS)
    each = _policy(row, r"(\d+) tokens per GPU", r"tokens per device per forward = (\d+)")
    batch = max(1, round(each * replica.chips / tokens)) if each else _batch(row) or 1
    return _prompt_pass(replica, batch, tokens)


def _decode(row: Row, replica: Replica) -> dict[str, float]:
    tokens, each = round(row.number("input_tokens") or UNSTATED_TOKENS), _policy(row, r"(\d+) requests per GPU")
    batch = round(each * replica.chips) if each else _batch(row) or 1
    step = replica.static(Batch(batch, tokens, round(row.number("output_tokens") or 1)))[1]
    return {
        "decode_latency_ms_per_token": step * 1e3,
        "tpot_ms_p50": step * 1e3,
        "output_tokens_per_s": batch / step,
    }


def _spread(row: Row) -> float:
    """Half the width of the uniform draw of output lengths whose standard deviation the notes state, as a share of their mean."""
    stated = re.search(r"(\d+)\+-(\d+) out", row.text("notes"))
    return math.sqrt(3.0) * int(stated[2]) / int(stated[1]) if stated else 0.0


def _closed(row: Row, replica: Replica, sizes: tuple[int, int, int], packs: Packs) -> dict[str, float]:
    """Clients that send one request after another, simulated. sizes: clients of the replica, tokens in and out."""
    clients, tokens, made = sizes
    spread, first, compiled = _spread(row), 0, replica.target.stack.compiled_tokens
    most, given, engine = round(made * (1.0 + spread)), tokens, replica.engine
    if compiled:  # a prompt a pass, each as long as the graph
        given, engine = max(tokens, compiled - most), engine.with_(max_batched_tokens=compiled)
    key = (replica.model, replica.plan, replica.target.chip, replica.target.stack.id, engine)
    if key not in packs:
        packs[key] = pack(
            replica.model, replica.plan, replica.target, engine, replica.price, max(2 * LONGEST, given + most)
        )
    requests = closed_loop(clients, ROUNDS * clients, given, most, 2.0 * spread / (1.0 + spread))
    if not spread:
        requests, first = staggered(requests, clients), clients
    times = times_of(simulate(packs[key], requests), first)
    rate = clients / (times["ttft_ms"] + times["tpot_ms"] * (made - 1)) * 1e3
    return {
        "ttft_ms_p50": times["ttft_ms"],
        "tpot_ms_p50": times["tpot_ms"],
        "prefill_latency_ms": times["ttft_ms"],
        "decode_latency_ms_per_token": times["tpot_ms"],
        "output_tokens_per_s": rate * made,
        "input_tokens_per_s": rate * tokens,
        "requests_per_s": rate,
    }


def _requests(row: Row, replica: Replica, packs: Packs) -> dict[str, float]:
    """Whole requests: batches that stay together where the policy says so or nothing queues behind them, else in flight."""
    tokens, made = _tokens(row, "input_tokens"), _tokens(row, "output_tokens")
    asked = _batch(row)
    policy = row.text("batch_policy").lower()
    in_flight = asked is None or any(word in policy for word in ("in-flight", "continuous", "max load"))
    room = replica.capacity(tokens + made / (2.0 if in_flight else 1.0))
    copies = row.count("DP") or 1 if replica.plan.attention_dp == 1 and "max load" in policy else 1
    running = min(-(-asked // copies) if asked else room, room)
    if asked and any(words in policy for words in CLOSED):
        return _closed(row, replica, (-(-asked // copies), tokens, made), packs)
    if in_flight and running > 1:
        return _in_flight(replica, Batch(running, tokens, made), asked)
    waves = math.ceil((asked or running) / running)
    prefill, step = replica.static(Batch(running, tokens, made))
    started = replica.target.stack.warm_up_s if policy.startswith("offline") else 0.0  # a process for each figure
    seconds = (prefill + step * (made - 1)) * waves + started
    requests = asked or running
    return {
        "prefill_latency_ms": prefill * 1e3,
        "decode_latency_ms_per_token": step * 1e3,
        "ttft_ms_p50": prefill * 1e3,
        "tpot_ms_p50": step * 1e3,
        "output_tokens_per_s": requests * made / seconds,
        "input_tokens_per_s": requests * tokens / seconds,
        "requests_per_s": requests / seconds,
    }


def _in_flight(replica: Replica, batch: Batch, asked: int | None) -> dict[str, float]:
    budget = replica.engine.max_batched_tokens or math.inf
    fed = max(1, int(budget / (1.0 + batch.input_tokens / batch.output_tokens)))  # more than prompts can keep up with
    batch = replace(batch, sequences=min(batch.sequences, fed))
    step = replica.steady(batch)
    rate = batch.sequences / step
    passes = math.ceil(batch.input_tokens / max(1.0, budget - batch.sequences))
    prompt = max(replica.prefill_s(1, batch.input_tokens), passes * step)
    queued = max(0, (asked or batch.sequences) - batch.sequences) * batch.output_tokens / rate
    return {
        "prefill_latency_ms": prompt * 1e3,
        "decode_latency_ms_per_token": step * 1e3,
        "ttft_ms_p50": (prompt + step + queued) * 1e3,
        "tpot_ms_p50": step * 1e3,
        "output_tokens_per_s": rate,
        "input_tokens_per_s": rate * batch.input_tokens / batch.output_tokens,
        "requests_per_s": rate / batch.output_tokens,
    }
