"""The decode leap: iterations in which nobody comes, goes or lacks a block, in one tight loop.

It does what `core` does for one iteration after another, with the state in registers: the same additions in the same order,
so that it ends at the same bits. (Passing the arrays to a function costs ten times the arithmetic of such an iteration.)
"""

from __future__ import annotations

from ..jit import inline
from . import state as at
from .prices import decode_point, gap_bin, kv_column, linear_tokens, share, tokens_made, trunk_point, within
from .state import Core, Tables


@inline
def demand(tables: Tables, core: Core, step: int, made: int) -> int:
    """Blocks that the decoding sequences need for their next `made` tokens when each has made `step`."""
    needed = 0
    for ahead in range(made):
        needed += core.growth[(-step - ahead) % tables.whole[at.BLOCK]]
    return needed


@inline
def may_leap(tables: Tables, core: Core) -> bool:
    """A pure decode batch is at work, everyone in it has decoded before, and whoever waits was left out when it was formed:
    then the next decision is the same until somebody arrives, completes or lacks a block."""
    count = core.counts
    settled = count[at.B_CHUNKS] == 0 and count[at.N_FRESH] == 0 and count[at.NEWCOMER] == 0
    ahead = count[at.STEP] + tokens_made(tables, count[at.ROUND])
    return bool(settled and count[at.B_DECODES] == count[at.N_DECODING] and ahead < count[at.MIN_FINISH])


@inline
def leap(tables: Tables, core: Core, until_s: float, decide: bool, trial: bool) -> float:
    """Go on from the iteration at work, which ends by `until_s`, as far as may be; afterwards one is at work, or none was
    started because of `until_s` or because a sequence lacks a block. Returns when the last of them ends. On `trial` nothing
    changes."""
    count, clock, uses, gaps, table = core.counts, core.clock, core.uses, core.gaps, tables.decode
    drafting = tables.whole[at.VERIFY] > 1
    decodes, pad, block, growth = count[at.N_DECODING], tables.whole[at.PAD_KV], tables.whole[at.BLOCK], core.growth
    passes = min(tables.whole[at.PP], decodes)
    cell, weight = trunk_point(tables, linear_tokens(tables, decodes, 0), passes)
    row, row_weight = decode_point(tables, decodes, passes)
    fixed_s = clock[at.TRUNK_S] + clock[at.LOGITS_S]
    floor_s, step_s, sequences_s = (
        tables.real[at.LAUNCH_FLOOR_S],
        tables.real[at.STEP_HOST_S],
        tables.real[at.SEQUENCE_HOST_S] * share(tables, decodes, passes),
    )
    now, end, last = clock[at.NOW], clock[at.END], clock[at.LAST_DECODE]
    step, kv, free, steps, rounds = count[at.STEP], count[at.KV_TOKENS], count[at.FREE], 0, count[at.ROUND]
    made, emitted, draft_s, drafts_s = tokens_made(tables, rounds), 0, 0.0, clock[at.SUM_DRAFT_S]
    busy_s, running_s, block_s = clock[at.BUSY_S], clock[at.RUNNING_S], clock[at.BLOCK_S]
    decode_s, logits_s, host_s = clock[at.SUM_DECODE_S], clock[at.SUM_LOGITS_S + 1], clock[at.SUM_HOST_S + 1]
    low, high = uses[1, cell], uses[1, cell + (weight > 0.0)]
    working = True
    while end <= until_s and step + made < count[at.MIN_FINISH]:
        step += made
        rounds += 1
        kv += decodes * made
        emitted += decodes * made
        if not trial:
            gaps[gap_bin(end - last)] += decodes
            if drafting:
                gaps[0] += decodes * (made - 1)
        now = last = end
        if drafting:
            made = tokens_made(tables, rounds)
            need = demand(tables, core, step, made)
        else:
            need = growth[(-step) % block]
        if now > until_s or (now == until_s and not decide) or need > free:
            working = False
            break
        free -= need
        column, kv_weight = kv_column(kv / decodes, pad)
        attention_s = within(table, row, row_weight, column, kv_weight)
        if drafting:
            draft_s = within(tables.draft, row, row_weight, column, kv_weight)
            drafts_s += draft_s
        device_s = fixed_s + attention_s + draft_s
        seconds = max(device_s, floor_s) + step_s + sequences_s
        low += 1.0 - weight
        high += weight
        logits_s += clock[at.LOGITS_S]
        host_s += seconds - device_s
        decode_s += attention_s
        busy_s += seconds
        running_s += seconds * count[at.N_RUNNING]
        block_s += seconds * (tables.whole[at.BLOCKS] - free)
        steps += 1
        end = now + seconds
    if trial:
        return float(end)
    clock[at.NOW], clock[at.END], clock[at.LAST_DECODE] = now, end, last
    count[at.STEP], count[at.KV_TOKENS], count[at.FREE] = step, kv, free
    count[at.ROUND], clock[at.SUM_DRAFT_S], clock[at.LOAD_S] = rounds, drafts_s, 0.0
    count[at.EMITTED] += emitted
    clock[at.BUSY_S], clock[at.RUNNING_S], clock[at.BLOCK_S] = busy_s, running_s, block_s
    clock[at.SUM_DECODE_S], clock[at.SUM_LOGITS_S + 1], clock[at.SUM_HOST_S + 1] = decode_s, logits_s, host_s
    uses[1, cell] = low
    if weight > 0.0:
        uses[1, cell + 1] = high
    count[at.ITERATIONS] += steps
    count[at.DECODE_STEPS] += steps
    count[at.DECODED] += steps * decodes
    count[at.PEAK_BLOCKS] = max(count[at.PEAK_BLOCKS], tables.whole[at.BLOCKS] - free)
    count[at.PHASE] = at.BUSY if working else at.IDLE
    return float(end)
