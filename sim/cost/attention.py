"""Attention: prefill and backward by tiles of queries, decode by KV items, linear attention by chunks. docs/cost.md section 3."""

from __future__ import annotations

import math

from ..jit import inline
from .machine import ARRAY, CLOCK_HZ, EXP_RATE, MEMORY_RATE, SRAM_BYTES, SRAM_RATE, UNITS, Row
from .matmul import Elements, _whole_waves, joined, missed

LAUNCH, EFFICIENCY, MEMORY_EFFICIENCY, NORM, NARROW = range(5)  # of prefill and of decode
TILE, ITEM, TAIL, HEAD_EXPONENT, EXP, EXP_EFFICIENCY, TOKEN, STORE, ROTATE = range(5, 14)
QUERY_TILE, PACKED, DECODE_QUERY, WORK, WIDE_EXPONENT, SLOW_SIZE, SLOW_SHARE, ALONE, STORE_WIDTH = range(14, 23)
DECODE_ITEM, ITEM_SIZE, HEAD, SEQUENCE, SPLIT, QUANTUM, CACHE_SHARE, UNIT_BYTES = range(5, 13)
ALONE_ITEM, ALONE_VALUES, DECODE_EXP, DECODE_EXP_EFFICIENCY, PACK, MOST_HEADS, SPLIT_HEADS = range(13, 20)
FEWEST_HEADS, REGROUP, PART, REACH = range(20, 24)
ALONE_LAUNCH, PLAIN_SIZE, PLAIN_LAUNCH, PLAIN_SHARE, PLAIN_PARTS, PLAIN_SEQUENCE, PLAIN_BATCH, FRONT = range(24, 32)
PART_WAVES, PART_TOKENS, PART_ROOT, ALONE_BELOW, RAMP, WIDE, ALONE_SPLIT = range(32, 39)
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
def _exp_rate(per_clock: float, efficiency: float, chip: Row) -> float:
    """Exponentials a second of a rank that attention reaches."""
    rate = chip[EXP_RATE] if chip[EXP_RATE] > 0.0 else per_clock * chip[UNITS] * chip[CLOCK_HZ]
    return rate * efficiency


@inline
def prefill_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of attention of `query` tokens over `kv` tokens [s]. d: batch, query, kv, heads, kv_heads, head_dim, causal, limit.
    inside: bytes of an element of Q and O, of K and V, FLOP/s of a rank. Tiles on the diagonal are computed whole."""
    batch, query, kv, heads, kv_heads, head_dim = d[0], d[1], d[2], d[3], max(d[4], 1.0), d[5]
    if batch <= 0.0 or query <= 0.0 or heads <= 0.0:
        return 0.0
    clock, units = chip[CLOCK_HZ], chip[UNITS]
    group = max(heads / kv_heads, 1.0) if p[PACKED] > 0.0 else 1.0  # heads that share a tile
    span = min(query, p[QUERY_TILE] / group)  # queries of a tile
    counted = pairs(query, kv, d[6], d[7])
    computed = counted
    if d[6] > 0.0:
        computed = min(counted + query * min(p[QUERY_TILE] / group, kv) / 4.0, max(query * kv, counted))
    rate = inside[2] * p[EFFICIENCY]
    if mechanism == 1:
        flops = 4.0 * computed * _padded(head_dim, chip[ARRAY])
    else:
        flops = 4.0 * computed * head_dim
        rate *= min(1.0, head_dim / 128.0) ** p[HEAD_EXPONENT] * min(1.0, 128.0 / head_dim) ** p[WIDE_EXPONENT]
    if head_dim == p[SLOW_SIZE]:
        rate *= p[SLOW_SHARE]
    exp_rate = _exp_rate(p[EXP], p[EXP_EFFICIENCY], chip)
    work = p[WORK] * units * joined(flops / rate, computed / exp_rate, 2.5)
    last = span * (min(kv, d[7]) if d[7] > 0.0 else kv)  # pairs of a head in the last tile, the longest
    tiles = math.ceil(query * group / p[QUERY_TILE])
    longest = group * work * min(1.0, last / computed) + p[TILE] / clock
    total = batch * heads / group * (group * work + (tiles * p[TILE] + p[ITEM]) / clock) / units
    compute = max(total, p[ALONE] * longest) + p[TAIL] * longest
    kept = min(kv, d[7] + query) if d[7] > 0.0 else kv
    moved = p[WORK] * batch * head_dim * (2.0 * inside[0] * query * heads + 2.0 * inside[1] * kept * kv_heads)
    memory = moved / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY])
    vectors = 2.0 * kv_heads * head_dim / 128.0
    stored = p[TOKEN] + vectors / (1.0 + vectors / p[STORE_WIDTH]) * p[STORE] + heads * head_dim / 128.0 * p[ROTATE]
    before = p[LAUNCH] + batch * query * stored / units
    return before / clock + joined(compute, memory, p[NORM])


@inline
def _parts(kv: float, waves: float, most: float, p: Row) -> float:
    """Parts, not whole, into which the stack's rule splits the KV range of items that fill `waves`, at most as many as pay."""
    parts = kv / p[PART_TOKENS]
    if p[PART_ROOT] > 0.0:
        parts = min(parts, math.sqrt(p[PART_ROOT] * parts))
    return max(1.0, min(parts, p[PART_WAVES] / waves, most))


@inline
def _paid(waves: float, parts: float, p: Row) -> float:
    """Waves of parts that are paid: at least one, what idles in the last one (of whole items, the less the more parts), and
    more than one as soon as items contend."""
    idle = _whole_waves(waves, p[QUANTUM]) - max(1.0, waves)
    waves = waves * parts + idle
    return joined(1.0, waves, p[RAMP]) if p[RAMP] > 0.0 else max(1.0, waves)


@inline
def decode_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of attention of one new token a sequence [s]. d: batch, kv, heads, kv_heads, score_dim, value_dim, kv_values.
    A work item is a KV head of a sequence; items are split along KV while units idle."""
    batch, kv, heads, kv_heads = d[0], d[1], d[2], max(d[3], 1.0)
    if batch <= 0.0 or kv <= 0.0 or heads <= 0.0:
        return 0.0
    clock, units = chip[CLOCK_HZ], chip[UNITS]
    group = heads / kv_heads
    items = batch * kv_heads
    before = p[LAUNCH] + batch * p[SEQUENCE]
    plain = d[4] == p[PLAIN_SIZE]
    held = inside[1] * kv * d[6] * items
    width = d[4] + d[5]
    if mechanism == 1:
        width = _padded(d[4], chip[ARRAY]) + _padded(d[5], chip[ARRAY])
    few = max(1.0, math.floor(kv / p[PART_TOKENS])) * items < p[ALONE_BELOW] * units
    alone = (group > p[MOST_HEADS] or group < p[FEWEST_HEADS] or few) and d[6] > d[4]  # latent kernels pack any number
    if alone:
        items = batch * heads
        before += p[ALONE_LAUNCH]
        each = kv * d[6] / (p[ALONE_VALUES] * clock)
        item = p[ALONE_ITEM] / clock
    else:
        packed = math.ceil(group / p[PACK]) * p[PACK]
        efficiency = p[EFFICIENCY] * (p[PLAIN_SHARE] if plain else 1.0)
        arithmetic = 2.0 * packed * width * kv * units / (inside[2] * efficiency)
        if d[4] > 128.0:
            arithmetic *= (d[4] / 128.0) ** p[WIDE]
        arithmetic += packed * kv * units / _exp_rate(p[DECODE_EXP], p[DECODE_EXP_EFFICIENCY], chip)
        loads = inside[1] * kv * d[6] / (p[UNIT_BYTES] * clock)
        each = math.sqrt(arithmetic * arithmetic + loads * loads)
        item = (p[DECODE_ITEM] + (p[ITEM_SIZE] + p[HEAD] * group) * d[4] / 128.0) / clock
    ruled = p[PART_WAVES] > 0.0 and not alone and not plain
    parts, merge = 1.0, 0.0
    if ruled and group >= p[SPLIT_HEADS]:
        pays = math.sqrt(p[PART_WAVES] * each * clock / p[PART]) if p[PART] > 0.0 else math.inf
        parts = _parts(kv, items / units, pays, p)
        merge = min(1.0, parts - 1.0) * (p[SPLIT] + p[PART] * parts)
    compute = _paid(items / units, parts, p) * (each / parts + item) + merge / clock
    if not ruled and items < 2.0 * units and group >= p[SPLIT_HEADS]:
        most = p[PLAIN_PARTS] if plain else math.inf
        merge = p[SPLIT] + (p[ALONE_SPLIT] if alone else 0.0)
        enough = each * clock / p[PART] if p[PART] > 0.0 else math.inf
        for count in (1.0, 2.0, 4.0):
            # the whole s that makes count each/s + s part least: the last with s (s - 1) <= count each/part
            split = math.floor(min(count * units / items, 0.5 + math.sqrt(0.25 + count * enough), most))
            if split >= 2.0:
                compute = min(compute, count * (each / split + item) + (merge + p[PART] * split) / clock)
    share = missed(held, p[CACHE_SHARE] * chip[SRAM_BYTES])
    rate = chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY] * min(1.0, max(items / units, 1.0) / p[REACH])
    memory = held * max(share / rate, 1.0 / chip[SRAM_RATE])
    memory += inside[0] * batch * heads * width / chip[MEMORY_RATE]
    if plain:
        before += p[PLAIN_LAUNCH] + (batch * p[PLAIN_SEQUENCE] if batch < p[PLAIN_BATCH] else 0.0)
    if batch > 1.0 and kv_heads > 1.0 and group > 1.0:
        before += p[REGROUP]
    return before / (p[FRONT] * 1e9 if p[FRONT] > 0.0 else clock) + joined(compute, memory, p[NORM])


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
