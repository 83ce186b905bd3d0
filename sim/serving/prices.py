"""The price of one iteration from a replica's tables: one function for the compiled core and for schedulers in Python."""

from __future__ import annotations

import math

from ..jit import inline, jit
from . import state as at
from .state import Core, FloatArray, Tables

FIRST_KV = 32  # the second grid point of KV lengths; they double from there


@inline
def kv_column(kv: float, pad: int) -> tuple[int, float]:
    """Column at or below a KV length, and how far towards the next (padded: the column at or above it).

    Points: 0, 32, 64, 128, ..."""
    if kv < FIRST_KV:
        column, weight = 0, kv / FIRST_KV
    else:
        mantissa, exponent = math.frexp(kv)
        column, weight = exponent - 5, 2.0 * mantissa - 1.0
    if pad == 1 and weight > 0.0:
        return column + 1, 0.0
    return column, weight


@inline
def between(low: float, high: float, weight: float) -> float:
    """Linear interpolation; `high` may be unpriced where the weight is 0."""
    return low if weight == 0.0 else low + weight * (high - low)


@inline
def within(table: FloatArray, row: int, row_weight: float, column: int, kv_weight: float) -> float:
    """Bilinear interpolation in a table of rows by KV columns."""
    seconds = between(table[row, column], table[row, column + 1], kv_weight)
    if row_weight > 0.0:
        above = between(table[row + 1, column], table[row + 1, column + 1], kv_weight)
        seconds = between(seconds, above, row_weight)
    return seconds


@inline
def _lacks(core: Core, what: int, row: int, column: int) -> bool:
    core.counts[at.MISSING] = what
    core.counts[at.MISSING_ROW] = row
    core.counts[at.MISSING_COLUMN] = column
    return False


@inline
def trunk_point(tables: Tables, tokens: int, passes: int) -> tuple[int, float]:
    """Grid point of the tokens of a pass, and how far towards the next."""
    each = (tokens + passes - 1) // passes
    return tables.cell[each], tables.weight[each]


@inline
def tokens_made(tables: Tables, rounds: int) -> int:
    """Tokens that each sequence makes in the decode step behind so many others: the mean, its fraction carried on, so that
    compiled and stepped runs agree to the bit and no sequence is off by a token."""
    mean = tables.real[at.TOKENS_A_STEP]
    if mean == 1.0:
        return 1
    return int(math.floor((rounds + 1) * mean) - math.floor(rounds * mean))


@inline
def linear_tokens(tables: Tables, decodes: int, chunk_tokens: int) -> int:
    """Tokens that a rank's matrices see: all that are verified of decoding sequences, and its share of the prompts."""
    cp = tables.whole[at.CP]
    return int(decodes * tables.whole[at.VERIFY] + (chunk_tokens + cp - 1) // cp)


@inline
def _fullest(tables: Tables, core: Core, chunk_tokens: int, passes: int) -> int:
    """Tokens of a batch in which every attention-DP rank had as many as the fullest has: a prompt stays on one rank."""
    ways, decodes, longest = tables.whole[at.ATTENTION_DP] * passes, core.counts[at.B_DECODES], 0
    for i in range(core.counts[at.B_CHUNKS]):
        longest = max(longest, core.chunks[i, at.QUERY])
    prompts = max(longest, (chunk_tokens + ways - 1) // ways)
    spread = linear_tokens(tables, (decodes + ways - 1) // ways, prompts) * ways
    return int(max(linear_tokens(tables, decodes, chunk_tokens), min(spread, tables.whole[at.MAX_TOKENS])))


@inline
def share(tables: Tables, sequences: int, passes: int) -> int:
    """Sequences of a pass on the attention-DP rank that holds most of them; each rank has its own host process."""
    ways = tables.whole[at.ATTENTION_DP] * passes
    return int((sequences + ways - 1) // ways)


@inline
def _book_trunk(tables: Tables, core: Core, phase: int, tokens: int, passes: int, share: float) -> None:
    cell, weight = trunk_point(tables, tokens, passes)
    core.uses[phase, cell] += share * (1.0 - weight)
    if weight > 0.0:
        core.uses[phase, cell + 1] += share * weight


@inline
def decode_point(tables: Tables, decodes: int, passes: int) -> tuple[int, float]:
    """Row of the sequences that the fullest attention-DP rank decodes in a pass, and how far towards the next."""
    held = share(tables, decodes, passes)
    return tables.row[held], tables.row_weight[held]


@inline
def _decode_s(tables: Tables, core: Core, decodes: int, passes: int) -> bool:
    """Attention of the decoding sequences on the rank that holds most of them, at their mean length."""
    row, weight = decode_point(tables, decodes, passes)
    for r in range(row, row + 1 + (weight > 0.0)):
        if math.isnan(tables.decode[r, 0]):
            return _lacks(core, at.DECODE, r, 0)
    column, kv_weight = kv_column(core.counts[at.KV_TOKENS] / decodes, tables.whole[at.PAD_KV])
    core.clock[at.DECODE_S] = within(tables.decode, row, weight, column, kv_weight)
    if tables.whole[at.VERIFY] > 1:
        core.clock[at.DRAFT_S] = within(tables.draft, row, weight, column, kv_weight)
    return True


@inline
def _prefill_s(tables: Tables, core: Core, chunks: int, passes: int) -> bool:
    """Attention of the prompts: the largest fixed part, and each one's own, spread over attention-DP ranks and passes."""
    fixed, own, longest = 0.0, 0.0, 0.0
    for i in range(chunks):
        query = core.chunks[i, at.QUERY]
        column, kv_weight = kv_column(core.chunks[i, at.PRIOR] * 1.0, tables.whole[at.PAD_KV])
        row, weight = tables.query[query], tables.query_weight[query]
        for r in range(row, row + 1 + (weight > 0.0)):
            for c in range(column, column + 1 + (kv_weight > 0.0)):
                if math.isnan(tables.prefill[r, c, 0]):
                    return _lacks(core, at.PREFILL, r, c)
        one = within(tables.prefill[:, :, 0], row, weight, column, kv_weight)
        each = within(tables.prefill[:, :, 1], row, weight, column, kv_weight)
        fixed = max(fixed, one)
        longest = max(longest, each)
        own += each
    ways = min(tables.whole[at.ATTENTION_DP] * passes, chunks)
    core.clock[at.PREFILL_S] = fixed + max(longest, own / ways)
    return True


@inline
def price(tables: Tables, core: Core, chunk_tokens: int) -> bool:
    """Seconds of the batch in core.counts (B_DECODES, B_CHUNKS, B_SAMPLES) and core.chunks, into core.clock.

    Under pipeline parallelism a batch of several sequences goes round in `passes` equal parts, one behind the other, and the
    round lasts as long as one part needs for all stages (stages are balanced, and there are no more parts than stages).
    False: a price is missing, core.counts names it, nothing has changed.
    """
    decodes, chunks, samples = core.counts[at.B_DECODES], core.counts[at.B_CHUNKS], core.counts[at.B_SAMPLES]
    passes = min(tables.whole[at.PP], decodes + chunks)
    cell, weight = trunk_point(tables, linear_tokens(tables, decodes, chunk_tokens), passes)
    for c in range(cell, cell + 1 + (weight > 0.0)):
        if math.isnan(tables.trunk[c]):
            return _lacks(core, at.TRUNK, c, 0)
    trunk = tables.trunk[cell]
    if weight > 0.0:
        trunk = between(trunk, tables.trunk[cell + 1], weight)
    if tables.whole[at.ATTENTION_DP] > 1 and chunks > 0:
        full_cell, full_weight = trunk_point(tables, _fullest(tables, core, chunk_tokens, passes), passes)
        for c in range(full_cell, full_cell + 1 + (full_weight > 0.0)):
            if math.isnan(tables.trunk[c]):
                return _lacks(core, at.TRUNK, c, 0)
        trunk += between(tables.own[full_cell], tables.own[full_cell + (full_weight > 0.0)], full_weight)
        trunk -= between(tables.own[cell], tables.own[cell + (weight > 0.0)], weight)
    sampled = 0.0
    if samples > 0:
        held = (samples + passes - 1) // passes
        row, row_weight = tables.row[held], tables.row_weight[held]
        for r in range(row, row + 1 + (row_weight > 0.0)):
            if math.isnan(tables.logits[r]):
                return _lacks(core, at.LOGITS, r, 0)
        sampled = tables.logits[row]
        if row_weight > 0.0:
            sampled = between(sampled, tables.logits[row + 1], row_weight)
    core.clock[at.DECODE_S] = core.clock[at.PREFILL_S] = core.clock[at.DRAFT_S] = 0.0
    if decodes > 0 and not _decode_s(tables, core, decodes, passes):
        return False
    if chunks > 0 and not _prefill_s(tables, core, chunks, passes):
        return False
    device = trunk + sampled + core.clock[at.DECODE_S] + core.clock[at.PREFILL_S] + core.clock[at.DRAFT_S]
    total = max(device, tables.real[at.LAUNCH_FLOOR_S]) + tables.real[at.STEP_HOST_S]
    total += tables.real[at.SEQUENCE_HOST_S] * share(tables, decodes + chunks, passes)
    if chunks > 0:
        total += tables.real[at.PROMPT_HOST_S] + tables.real[at.PROMPT_GAPS] * device
    core.clock[at.TRUNK_S] = trunk
    core.clock[at.LOGITS_S] = sampled
    core.clock[at.HOST_S] = total - device
    core.clock[at.SECONDS] = total + core.clock[at.LOAD_S]
    core.counts[at.MISSING] = at.NOTHING
    return True


@inline
def _sum_up(tables: Tables, core: Core, chunk_tokens: int, times: float) -> None:
    """Add the seconds of the priced batch, `times` over, to the replica's sums. Time for all is split by tokens between
    prompts and decodes."""
    count, clock = core.counts, core.clock
    decodes, chunks, seconds = count[at.B_DECODES], count[at.B_CHUNKS], times * clock[at.SECONDS]
    tokens = linear_tokens(tables, decodes, chunk_tokens)
    decode_share = decodes * tables.whole[at.VERIFY] / tokens
    passes = min(tables.whole[at.PP], decodes + chunks)
    if tables.whole[at.ATTENTION_DP] > 1 and chunks > 0:
        _book_trunk(tables, core, 2, _fullest(tables, core, chunk_tokens, passes), passes, times)
        _book_trunk(tables, core, 2, tokens, passes, -times)
    for phase in range(2):
        share = times * (decode_share if phase == 1 else 1.0 - decode_share)
        if share != 0.0:
            _book_trunk(tables, core, phase, tokens, passes, share)
            clock[at.SUM_LOGITS_S + phase] += share * clock[at.LOGITS_S]
            clock[at.SUM_HOST_S + phase] += share * clock[at.HOST_S]
    clock[at.SUM_DECODE_S] += times * clock[at.DECODE_S]
    clock[at.SUM_PREFILL_S] += times * clock[at.PREFILL_S]
    clock[at.SUM_DRAFT_S] += times * clock[at.DRAFT_S]
    clock[at.SUM_LOAD_S] += times * clock[at.LOAD_S]
    clock[at.BUSY_S] += seconds
    clock[at.RUNNING_S] += seconds * count[at.N_RUNNING]
    clock[at.BLOCK_S] += seconds * (tables.whole[at.BLOCKS] - count[at.FREE])


@inline
def book(tables: Tables, core: Core, chunk_tokens: int) -> None:
    """Add the priced batch to the replica's sums and counts."""
    count = core.counts
    _sum_up(tables, core, chunk_tokens, 1.0)
    count[at.ITERATIONS] += 1
    count[at.DECODE_STEPS] += count[at.B_DECODES] > 0
    count[at.PREFILLED] += chunk_tokens
    count[at.DECODED] += count[at.B_DECODES]
    count[at.PEAK_BLOCKS] = max(count[at.PEAK_BLOCKS], tables.whole[at.BLOCKS] - count[at.FREE])
    count[at.PEAK_RUNNING] = max(count[at.PEAK_RUNNING], count[at.N_RUNNING])


@inline
def cut(tables: Tables, core: Core, now: float) -> None:
    """The iteration at work breaks off: the time until then is spent, its tokens are not made."""
    count, clock = core.counts, core.clock
    if count[at.PHASE] != at.BUSY:
        return
    chunk_tokens = 0
    for i in range(count[at.B_CHUNKS]):
        chunk_tokens += core.chunks[i, at.QUERY]
    price(tables, core, chunk_tokens)  # a leap does not keep the parts of the iteration at work
    _sum_up(tables, core, chunk_tokens, -(clock[at.END] - now) / clock[at.SECONDS])
    count[at.ITERATIONS] -= 1
    count[at.DECODE_STEPS] -= count[at.B_DECODES] > 0
    count[at.PREFILLED] -= chunk_tokens
    count[at.DECODED] -= count[at.B_DECODES]


@inline
def gap_bin(gap_s: float) -> int:
    """Bin of one gap between two tokens of a sequence."""
    if gap_s <= 1e-6:
        return 0
    return min(at.GAP_BINS - 1, int((math.log10(gap_s) + 6.0) * 128.0))


@jit
def price_batch(tables: Tables, core: Core, chunk_tokens: int) -> bool:
    """`price` and `book`, for callers in Python."""
    if not price(tables, core, chunk_tokens):
        return False
    book(tables, core, chunk_tokens)
    return True


@jit
def cut_batch(tables: Tables, core: Core, now: float) -> None:
    """`cut`, for callers in Python."""
    cut(tables, core, now)


@jit
def count_gap(core: Core, gap_s: float) -> None:
    """Count one gap between two tokens."""
    core.gaps[gap_bin(gap_s)] += 1


@jit
def tokens_next(tables: Tables, rounds: int) -> int:
    """`tokens_made`, for callers in Python."""
    return tokens_made(tables, rounds)
