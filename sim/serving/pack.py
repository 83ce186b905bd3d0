"""One replica, packed: its limits, its KV cache and the prices of its iterations, filled into tables on first use."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..catalog.models import EmbeddingBags, Model
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..lowering.kinds import PARTS
from . import state as at
from .drafter import Speculated, drafting, tokens_a_step
from .limits import Limits
from .lowered import Lowered, Price
from .prices import FIRST_KV
from .schedulers import SCHEDULERS, load
from .settings import as_served, kv_blocks, of_replica, off_device, resolved
from .setup import Setup
from .state import N_PARTS, Core, FloatArray, IntArray, Tables

_WINDOW = 16  # grid points priced together: one call of lowering costs far more than one more row
_BATCH = 8.0  # the second point of prompt attention: its slope over sequences
_UNBOUNDED = 2**40


class Costs(Protocol):
    """Seconds of the parts of a pass; see `lowered.Lowered`. draft_s is asked for only where tokens are drafted."""

    launches: float

    def trunk_s(self, tokens: FloatArray) -> FloatArray: ...
    def logits_s(self, sequences: FloatArray) -> FloatArray: ...
    def decode_s(self, sequences: FloatArray, kv_tokens: FloatArray) -> FloatArray: ...
    def draft_s(self, sequences: FloatArray, kv_tokens: FloatArray) -> FloatArray: ...
    def prefill_s(self, sequences: FloatArray, query_tokens: FloatArray, kv_tokens: FloatArray) -> FloatArray: ...


class Pack:
    """Tables of one replica and what fills them. Replicas of equal configuration share one pack."""

    def __init__(self, costs: Costs, limits: Limits) -> None:
        verified = limits.max_num_seqs * (1 + limits.drafts)
        tokens = max(limits.max_batched_tokens, verified)  # room for a decode step of every sequence at least
        limits = replace(limits, max_batched_tokens=tokens)
        self.costs = costs
        self.limits = limits
        buckets = _powers(tokens) if limits.power_of_two else limits.buckets
        sequence_buckets = _powers(verified) if limits.power_of_two else ()
        if limits.power_of_two:  # nothing between buckets is ever asked for
            self.token_points = self.query_points = np.array(buckets, dtype=np.float64)
            self.sequence_points = np.array(sequence_buckets, dtype=np.float64)
        else:
            self.token_points = _grid(tokens, 256, 32, buckets)
            self.sequence_points, self.query_points = _grid(verified, 8, 4, ()), _grid(tokens, 8, 4, ())
        columns = 3 + max(0, math.ceil(math.log2(max(limits.longest, 2 * FIRST_KV) / FIRST_KV)))
        self.kv_points = np.array([0.0] + [FIRST_KV * 2.0**c for c in range(columns)])
        self.parts_s = np.full((len(self.token_points), N_PARTS), np.nan)
        self.tables = self._tables(tokens, buckets, sequence_buckets)

    def _tables(self, tokens: int, buckets: tuple[int, ...], sequence_buckets: tuple[int, ...]) -> Tables:
        limits, points, v = self.limits, self.sequence_points, len(self.kv_points) + 1
        cell, weight = _cells(self.token_points, tokens, buckets)
        row, row_weight = _cells(points, limits.max_num_seqs * (1 + limits.drafts), sequence_buckets)
        query, query_weight = _cells(self.query_points, tokens, buckets if limits.power_of_two else ())
        return Tables(
            whole=self._whole(),
            real=self._real(),
            cell=cell,
            weight=weight,
            trunk=np.full(len(self.token_points), np.nan),
            own=np.full(len(self.token_points), np.nan),
            row=row,
            row_weight=row_weight,
            logits=np.full(len(points), np.nan),
            decode=np.full((len(points), v), np.nan),
            draft=np.full((len(points), v), np.nan),
            query=query,
            query_weight=query_weight,
            prefill=np.full((len(self.query_points), v, 2), np.nan),
        )

    def _real(self) -> FloatArray:
        limits, real = self.limits, np.zeros(at.REALS)
        real[at.LAUNCH_FLOOR_S] = limits.eager_launch_s * self.costs.launches
        real[at.STEP_HOST_S], real[at.SEQUENCE_HOST_S] = limits.step_host_s, limits.sequence_host_s
        real[at.PROMPT_HOST_S] = limits.prompt_host_s
        real[at.PROMPT_GAPS] = limits.prompt_gaps
        real[at.TOKENS_A_STEP], real[at.SWAP_TOKEN_S] = limits.tokens_a_step, limits.swap_token_s
        return real

    def _whole(self) -> IntArray:
        limits, whole = self.limits, np.zeros(at.SETTINGS, dtype=np.int64)
        blocks = _UNBOUNDED if limits.kv_blocks is None else limits.kv_blocks
        whole[at.MODE] = getattr(load(limits.scheduler, SCHEDULERS, "scheduler", "decide"), "mode", -1)
        whole[at.MAX_SEQS] = limits.max_num_seqs
        whole[at.MAX_TOKENS] = limits.max_batched_tokens
        whole[at.BLOCK] = limits.kv_block
        whole[at.BLOCKS] = blocks
        whole[at.WATERMARK] = 0 if limits.kv_blocks is None else math.ceil(limits.watermark * blocks)
        whole[at.MAX_LEN] = min(limits.max_model_len, limits.longest) + limits.one_shot
        whole[at.ONE_SHOT] = limits.one_shot
        whole[at.ATTENTION_DP], whole[at.PP] = limits.attention_dp, limits.pp
        whole[at.PAD_KV] = limits.power_of_two
        whole[at.VERIFY], whole[at.CP] = 1 + limits.drafts, limits.cp
        whole[at.HOST_BLOCKS] = limits.host_blocks
        return whole

    def refused(self, input_tokens: int, output_tokens: int) -> int:
        """Why a request can never be served here (a status of `state.REASONS`), or 0."""
        from .refusals import refusal

        return int(refusal(self.tables.whole, input_tokens, output_tokens))

    def fill(self, core: Core) -> None:
        """Price what the core lacked, and its neighbours."""
        what, row, column = (int(core.counts[i]) for i in (at.MISSING, at.MISSING_ROW, at.MISSING_COLUMN))
        if what == at.TRUNK:
            self._fill_trunk(row)
        elif what == at.LOGITS:
            self._fill_logits(row)
        elif what == at.DECODE:
            self._fill_decode(row)
        else:
            self._fill_prefill(row, column)

    def _fill_trunk(self, cell: int) -> None:
        rows = _lacking(self.tables.trunk, cell)
        self.parts_s[rows] = self.costs.trunk_s(self.token_points[rows])
        self.tables.trunk[rows] = self.parts_s[rows].sum(axis=1)
        self.tables.own[rows] = self.own_s(rows).sum(axis=1)

    def own_s(self, rows: IntArray) -> FloatArray:
        """Seconds by part of what an attention-DP rank does for its own tokens alone, at these grid points."""
        own = self.parts_s[rows].copy()
        own[:, PARTS.index("experts")] = 0.0
        return own

    def _fill_logits(self, row: int) -> None:
        rows = _lacking(self.tables.logits, row)
        self.tables.logits[rows] = self.costs.logits_s(self.sequence_points[rows])

    def _fill_decode(self, row: int) -> None:
        kv = np.maximum(self.kv_points, 1.0)
        seconds = self.costs.decode_s(np.full(len(kv), self.sequence_points[row]), kv)
        self.tables.decode[row, :-1], self.tables.decode[row, -1] = seconds, seconds[-1]
        if self.limits.drafts:
            seconds = self.costs.draft_s(np.full(len(kv), self.sequence_points[row]), kv)
            self.tables.draft[row, :-1], self.tables.draft[row, -1] = seconds, seconds[-1]

    def _fill_prefill(self, row: int, column: int) -> None:
        rows = _lacking(self.tables.prefill[:, column, 0], row)
        query, prior = self.query_points[rows], self.kv_points[column]
        one, many = (self.costs.prefill_s(np.full(len(rows), b), query, prior + query) for b in (1.0, _BATCH))
        each = np.clip((many - one) / (_BATCH - 1.0), 0.0, one)
        self.tables.prefill[rows, column, 0], self.tables.prefill[rows, column, 1] = one - each, each


def _lacking(table: FloatArray, first: int) -> IntArray:
    """Unpriced entries of the window that starts with the one that was asked for."""
    return first + np.flatnonzero(np.isnan(table[first : first + _WINDOW]))


def _powers(largest: int) -> tuple[int, ...]:
    return tuple(2**e for e in range(math.ceil(math.log2(largest)) + 1))


def _grid(largest: int, exact: int, per_octave: int, buckets: tuple[int, ...]) -> FloatArray:
    """Counts that are priced: all up to `exact`, then so many an octave, and the buckets."""
    points = set(range(1, min(exact, largest) + 1)) | set(buckets) | {largest}
    size = float(exact)
    while size < largest:
        points |= {round(size * (1.0 + i / per_octave)) for i in range(per_octave)}
        size *= 2.0
    return np.array(sorted(p for p in points if p <= max(largest, *buckets, 1)), dtype=np.float64)


def _cells(points: FloatArray, largest: int, buckets: tuple[int, ...]) -> tuple[IntArray, FloatArray]:
    """For each count 0..largest: the grid point at or below it (after padding to its bucket), and the share of the next."""
    counts = np.maximum(np.arange(largest + 1, dtype=np.float64), 1.0)
    if buckets:
        sizes = np.array(sorted(buckets), dtype=np.float64)
        place = np.minimum(np.searchsorted(sizes, counts), len(sizes) - 1)
        counts = np.maximum(counts, sizes[place])  # above the largest bucket nothing is padded
    cell = np.searchsorted(points, counts, side="right") - 1
    above = np.minimum(cell + 1, len(points) - 1)
    span = np.maximum(points[above] - points[cell], 1.0)
    return cell.astype(np.int64), np.where(above > cell, (counts - points[cell]) / span, 0.0)


def pack(model: Model, plan: Plan, target: Target, engine: Engine, price: Price, longest: int) -> Pack:
    """One replica of a model under a plan; see `pack_of`."""
    return pack_of(Setup(model, plan, target, engine), price, longest)


def pack_of(setup: Setup, price: Price, longest: int) -> Pack:
    """One replica of a setup. price: seconds of each row, such as `cost.seconds` with a machine; longest: tokens (input and
    output) of the longest request. Settings of the engine count for the whole replica; a stack's defaults of sequences and
    tokens are those of one attention-DP rank. Raises InputError for illegal settings, Infeasible if it does not fit."""
    model, target, given = setup.model, setup.target, setup.engine
    engine = of_replica(resolved(given, target), given, setup.plan.attention_dp * setup.plan.pp)
    plan = as_served(setup.plan, model, target.chip)
    drafter = drafting(model, plan, engine, setup.draft_model)
    limits = _limits(replace(setup, plan=plan, engine=engine), drafter, longest)
    lowered = Lowered(model, plan, price, target.stack, 1.0 + limits.drafts)
    if drafter is None:
        return Pack(lowered, limits)
    return Pack(Speculated(lowered, Lowered(*drafter, price, target.stack), limits.drafts), limits)


def _limits(setup: Setup, drafter: tuple[Model, Plan] | None, longest: int) -> Limits:
    """Limits of a setup whose plan and engine are resolved."""
    model, plan, target, engine = setup.model, setup.plan, setup.target, setup.engine
    stack, asked, site = target.stack, engine.speculative, target.calibration.site
    host, request = (site.host, site.request) if site else (1.0, 1.0)
    drafts = asked.tokens if asked else 0
    one_shot = model.encoder_only or any(isinstance(block.ffn, EmbeddingBags) for block in model.blocks)
    host_blocks, swap_token_s, tiers = off_device(model, plan, engine, target, drafter)
    return Limits(
        max_num_seqs=engine.max_num_seqs or 1,
        max_batched_tokens=engine.max_batched_tokens or 1,
        scheduler=engine.scheduler or "continuous",
        kv_block=engine.kv_block,
        kv_blocks=None if one_shot else kv_blocks(model, plan, engine, target, drafter),
        watermark=engine.watermark,
        prefix_cache=engine.prefix_cache,
        max_model_len=engine.max_model_len or model.max_positions or 2**31,
        longest=longest,
        one_shot=one_shot,
        attention_dp=plan.attention_dp,
        pp=plan.pp,
        cp=plan.cp,
        drafts=drafts,
        tokens_a_step=tokens_a_step(drafts, asked.acceptance if asked else 0.0),
        host_blocks=host_blocks,
        swap_token_s=swap_token_s,
        prefix_tiers=tiers,
        chips=math.ceil(plan.tp * plan.pp * plan.cp * plan.attention_dp / target.chip.ranks),
        buckets=engine.buckets,
        power_of_two=stack.buckets == "power_of_two",
        eager_launch_s=host * stack.host_launch_s if stack.launch == "eager" else 0.0,
        step_host_s=host * stack.step_host_s,
        sequence_host_s=host * stack.sequence_host_s,
        prompt_host_s=host * stack.prompt_host_s,
        prompt_gaps=stack.prompt_gaps,
        request_host_s=request * stack.request_host_s,
        ahead_steps=stack.ahead_steps,
    )
