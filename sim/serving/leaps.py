"""The decode leap: iterations in which nobody comes, goes or lacks a block, in one tight loop.

It does what `core` does for one iteration after another, with the state in registers: the same additions in the same order,
so that it ends at the same bits. (Passing the arrays to a function costs ten times the arithmetic of such an iteration.)
"""

from __future__ import annotations

from ..jit import inline
from . import state as at
from .prices import decode_point, gap_bin, kv_column, share, trunk_point, within
from .state import Core, Tables


@inline
def may_leap(core: Core) -> bool:
    """A pure decode batch is at work, everyone in it has decoded before, and whoever waits was left out when it was formed:
    then the next decision is the same until somebody arrives, completes or lacks a block."""
    count = core.counts
    settled = count[at.B_CHUNKS] == 0 and count[at.N_FRESH] == 0 and count[at.NEWCOMER] == 0
    return bool(settled and count[at.B_DECODES] == count[at.N_DECODING] and count[at.STEP] + 1 < count[at.MIN_FINISH])


@inline
def leap(tables: Tables, core: Core, until_s: float, decide: bool, trial: bool) -> float:
    """Go on from the iteration at work, which ends by `until_s`, as far as may be; afterwards one is at work, or none was
    started because of `until_s` or because a sequence lacks a block. Returns when the last of them ends. On `trial` nothing
    changes."""
    count, clock, uses, gaps, growth, table = core.counts, core.clock, core.uses, core.gaps, core.growth, tables.decode
    decodes, block, pad = count[at.N_DECODING], tables.whole[at.BLOCK], tables.whole[at.PAD_KV]
    passes = min(tables.whole[at.PP], decodes)
    cell, weight = trunk_point(tables, decodes, passes)
    row, row_weight = decode_point(tables, decodes, passes)
    fixed_s = clock[at.TRUNK_S] + clock[at.LOGITS_S]
    floor_s, step_s, sequences_s = (
        tables.host_s[at.LAUNCH_FLOOR_S],
        tables.host_s[at.STEP_HOST_S],
        tables.host_s[at.SEQUENCE_HOST_S] * share(tables, decodes, passes),
    )
    now, end, last = clock[at.NOW], clock[at.END], clock[at.LAST_DECODE]
    step, kv, free, steps = count[at.STEP], count[at.KV_TOKENS], count[at.FREE], 0
    busy_s, running_s, block_s = clock[at.BUSY_S], clock[at.RUNNING_S], clock[at.BLOCK_S]
    decode_s, logits_s, host_s = clock[at.SUM_DECODE_S], clock[at.SUM_LOGITS_S + 1], clock[at.SUM_HOST_S + 1]
    low, high = uses[1, cell], uses[1, cell + (weight > 0.0)]
    working = True
    while end <= until_s and step + 1 < count[at.MIN_FINISH]:
        step += 1
        kv += decodes
        if not trial:
            gaps[gap_bin(end - last)] += decodes
        now = last = end
        need = growth[(-step) % block]
        if now > until_s or (now == until_s and not decide) or need > free:
            working = False
            break
        free -= need
        column, kv_weight = kv_column(kv / decodes, pad)
        attention_s = within(table, row, row_weight, column, kv_weight)
        device_s = fixed_s + attention_s
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
