"""Attention: prefill and backward by tiles of queries, decode by KV items, linear attention by chunks. docs/cost.md section 3."""

from __future__ import annotations

import math

from ..jit import inline
from .machine import ARRAY, CLOCK_HZ, EXP_RATE, MEMORY_RATE, SRAM_BYTES, SRAM_RATE, UNITS, Row
from .matmul import Elements, joined, missed

LAUNCH, EFFICIENCY, MEMORY_EFFICIENCY, EXP, NORM, TILE, ITEM, TAIL, HEAD_EXPONENT, SEQUENCE = range(10)
QUERY_TILE, PACK, SPLIT, CACHE_SHARE, UNIT_BYTES, WORK, EXP_EFFICIENCY, HEAD = range(10, 18)
LINEAR_LAUNCH, LINEAR_EFFICIENCY, LINEAR_MEMORY, LINEAR_NORM, CHUNK, CHUNK_CLOCKS = range(6)


@inline
def pairs(query: float, kv: float, causal: float, limit: float) -> float:
    """Query-key pairs of one head of one sequence (the twin of lowering's `attention_pairs`)."""
    reach = limit if limit > 0.0 else math.inf
    if causal <= 0.0:
        return query * min(kv, reach)
    first = kv - query
    ramp = min(max(reach - first, 0.0), query)
    flat = query - ramp
    return ramp * first + ramp * (ramp + 1.0) / 2.0 + (flat * min(reach, kv) if flat > 0.0 else 0.0)


@inline
def _padded(size: float, side: float) -> float:
    """Lanes that a systolic array of that side spends on `size`."""
    return math.ceil(size / side) * side


@inline
def prefill_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of attention of `query` tokens over `kv` tokens [s]. d: batch, query, kv, heads, kv_heads, head_dim, causal, limit.
    inside: bytes of an element of Q and O, of K and V, FLOP/s of a rank. Tiles on the diagonal are computed whole."""
    batch, query, kv, heads, head_dim = d[0], d[1], d[2], d[3], d[5]
    if batch <= 0.0 or query <= 0.0 or heads <= 0.0:
        return 0.0
    clock, units = chip[CLOCK_HZ], chip[UNITS]
    computed = pairs(query, kv, d[6], d[7])
    if d[6] > 0.0:
        computed = min(computed + query * min(p[QUERY_TILE], kv) / 4.0, max(query * kv, computed))
    tiles = math.ceil(query / p[QUERY_TILE])
    rate = inside[2] * p[EFFICIENCY]
    if mechanism == 1:
        flops = 4.0 * computed * _padded(head_dim, chip[ARRAY])
    else:
        flops = 4.0 * computed * head_dim
        rate *= min(1.0, head_dim / 128.0) ** p[HEAD_EXPONENT]
    exp_rate = (chip[EXP_RATE] if chip[EXP_RATE] > 0.0 else p[EXP] * units * clock) * p[EXP_EFFICIENCY]
    work = joined(p[WORK] * flops * units / rate, p[WORK] * computed * units / exp_rate, 2.5)
    last = min(query, p[QUERY_TILE]) * (min(kv, d[7]) if d[7] > 0.0 else kv)  # pairs of the last tile, the longest
    longest = work * min(1.0, last / computed) + p[TILE] / clock
    total = batch * heads * (work + (tiles * p[TILE] + p[ITEM]) / clock) / units
    compute = max(total, longest) + p[TAIL] * longest
    kept = min(kv, d[7] + query) if d[7] > 0.0 else kv
    moved = p[WORK] * batch * head_dim * (2.0 * inside[0] * query * heads + 2.0 * inside[1] * kept * d[4])
    memory = moved / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY])
    return (p[LAUNCH] + batch * p[SEQUENCE]) / clock + joined(compute, memory, p[NORM])


@inline
def decode_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of attention of one new token a sequence [s]. d: batch, kv, heads, kv_heads, score_dim, value_dim, kv_values.
    A work item is a KV head of a sequence; items are split along KV until every unit has one."""
    batch, kv, heads, kv_heads = d[0], d[1], d[2], max(d[3], 1.0)
    if batch <= 0.0 or kv <= 0.0 or heads <= 0.0:
        return 0.0
    clock, units = chip[CLOCK_HZ], chip[UNITS]
    group = heads / kv_heads
    items = batch * kv_heads
    held = inside[1] * kv * d[6] * items
    if (
        group > p[QUERY_TILE] and d[6] > d[4]
    ):  # a kernel that does not pack so many heads works on each alone; latent ones do
        items, group = batch * heads, 1.0
    width = d[4] + d[5]
    if mechanism == 1:
        width = _padded(d[4], chip[ARRAY]) + _padded(d[5], chip[ARRAY])
    packed = math.ceil(group / p[PACK]) * p[PACK]
    arithmetic = 2.0 * packed * width * kv * units / (inside[2] * p[EFFICIENCY])
    exp_rate = (chip[EXP_RATE] if chip[EXP_RATE] > 0.0 else p[EXP] * units * clock) * p[EXP_EFFICIENCY]
    arithmetic += packed * kv * units / exp_rate
    item_bytes = inside[1] * kv * d[6]
    each = joined(arithmetic, item_bytes / (p[UNIT_BYTES] * clock), p[NORM])
    item = (p[ITEM] + p[HEAD] * group) / clock
    compute = math.ceil(items / units) * (each + item)
    split = 2.0
    while items < 2.0 * units and split <= 64.0:
        waves = math.ceil(items * split / units)
        compute = min(compute, waves * (each / split + item) + p[SPLIT] / clock)
        split *= 2.0
    share = missed(held, p[CACHE_SHARE] * chip[SRAM_BYTES])
    memory = held * max(share / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]), 1.0 / chip[SRAM_RATE])
    memory += inside[0] * batch * heads * width / chip[MEMORY_RATE]
    return (p[LAUNCH] + batch * p[SEQUENCE]) / clock + joined(compute, memory, p[NORM])


@inline
def linear_s(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    """Time of a gated delta net over `query` tokens [s]. d: batch, query, heads, key_dim, value_dim. Chunks of a head follow
    one another, heads and sequences run side by side; the state is read and written once."""
    batch, query, heads, key, value = d[0], d[1], d[2], d[3], d[4]
    if batch <= 0.0 or query <= 0.0 or heads <= 0.0:
        return 0.0
    clock = chip[CLOCK_HZ]
    chunk = min(query, p[CHUNK])
    chunks = math.ceil(query / p[CHUNK])
    inner = 2.0 * batch * heads * chunks * chunk * chunk * (key + value)  # scores and their product inside a chunk
    flops = 6.0 * batch * query * heads * key * value + inner
    waves = max(1.0, batch * heads / chip[UNITS])
    compute = flops / (inside[2] * p[LINEAR_EFFICIENCY]) + waves * chunks * p[CHUNK_CLOCKS] / clock
    moved = 2.0 * inside[1] * batch * heads * key * value + inside[0] * batch * query * heads * 2.0 * (key + value)
    return p[LINEAR_LAUNCH] / clock + joined(compute, moved / (chip[MEMORY_RATE] * p[LINEAR_MEMORY]), p[LINEAR_NORM])
