"""The compiled core of a replica: what happens from one moment to another while nobody outside interferes.

It imitates `stepper.Stepper` with the built-in schedulers to the last bit, without an object for each request. At equal
times: completions, then arrivals, then decisions. An iteration in progress is never cut. What a running sequence has made
follows from the step at which it will finish, so that an iteration that completes nothing costs the same however many run.
"""

from __future__ import annotations

import math

import numpy as np

from ..jit import inline, jit
from . import state as at
from .leaps import demand, leap, may_leap
from .prices import book, gap_bin, price, tokens_made
from .refusals import refused_for
from .state import Columns, Core, IntArray, Tables

_NEVER = np.iinfo(np.int64).max


@inline
def _blocks(tokens: int, block: int) -> int:
    return (tokens + block - 1) // block


@inline
def _push(columns: Columns, count: IntArray, request: int, front: bool) -> None:
    """Queue a request; those that were preempted go to the front."""
    columns.tokens[request, at.STATUS] = at.WAITING
    if count[at.N_WAITING] == 0:
        columns.tokens[request, at.NEXT] = -1
        count[at.HEAD] = count[at.TAIL] = request
    elif front:
        columns.tokens[request, at.NEXT] = count[at.HEAD]
        count[at.HEAD] = request
    else:
        columns.tokens[request, at.NEXT] = -1
        columns.tokens[count[at.TAIL], at.NEXT] = request
        count[at.TAIL] = request
    count[at.N_WAITING] += 1


@inline
def _leave(tables: Tables, columns: Columns, core: Core, slot: int) -> None:
    """A running sequence gives its blocks back and is no longer counted; its slot is still there."""
    count, block = core.counts, tables.whole[at.BLOCK]
    request = core.running[slot, at.ID]
    cached = columns.tokens[request, at.INPUT] + columns.tokens[request, at.MADE]
    if core.running[slot, at.DECODES] == 1:
        left = core.running[slot, at.FINISH_STEP] - count[at.STEP]  # below 0: drafts beyond its end
        cached = (
            columns.tokens[request, at.INPUT] + columns.tokens[request, at.OUTPUT] - left - 1
        )  # the last has no KV yet
        count[at.N_DECODING] -= 1
        count[at.N_FRESH] -= core.running[slot, at.FRESH]
        count[at.KV_TOKENS] -= cached + 1
        core.growth[(cached - count[at.STEP]) % block] -= 1
    count[at.FREE] += _blocks(cached, block)


@inline
def _next_finish(core: Core) -> None:
    first = _NEVER
    for i in range(core.counts[at.N_RUNNING]):
        if core.running[i, at.DECODES] == 1:
            first = min(first, core.running[i, at.FINISH_STEP])
    core.counts[at.MIN_FINISH] = first


@inline
def _preempt_last(tables: Tables, columns: Columns, core: Core) -> None:
    """Evict the sequence that was admitted last; its KV goes to host memory if there is room, else it is computed again."""
    count, kept = core.counts, columns.tokens[core.running[core.counts[at.N_RUNNING] - 1, at.ID], at.DONE]
    slot = count[at.N_RUNNING] - 1
    request = core.running[slot, at.ID]
    if core.running[slot, at.DECODES] == 1:
        left = core.running[slot, at.FINISH_STEP] - count[at.STEP]
        columns.tokens[request, at.MADE] = columns.tokens[request, at.OUTPUT] - left
        if core.running[slot, at.FRESH] == 0:
            columns.times_s[request, at.LAST] = core.clock[at.LAST_DECODE]
        kept = columns.tokens[request, at.INPUT] + columns.tokens[request, at.MADE] - 1
    _leave(tables, columns, core, slot)
    count[at.N_RUNNING] -= 1
    columns.tokens[request, at.CACHED] = 0
    if kept > 0 and _blocks(kept, tables.whole[at.BLOCK]) <= count[at.HOST_FREE]:
        count[at.HOST_FREE] -= _blocks(kept, tables.whole[at.BLOCK])
        count[at.SWAPS] += 1
        columns.tokens[request, at.CACHED] = columns.tokens[request, at.PARKED] = kept
        columns.times_s[request, at.LOAD] = kept * tables.real[at.SWAP_TOKEN_S]
        core.clock[at.LOAD_S] += columns.times_s[request, at.LOAD]
    columns.tokens[request, at.PREEMPTED] += 1
    count[at.PREEMPTIONS] += 1
    _push(columns, count, request, True)


@inline
def _demand(tables: Tables, core: Core) -> int:
    """Blocks that the decoding sequences need for what they make next."""
    return demand(tables, core, core.counts[at.STEP], tokens_made(tables, core.counts[at.ROUND]))


@inline
def _grow(tables: Tables, columns: Columns, core: Core) -> bool:
    """Give every decoding sequence room for its next token, evicting from the end. True: somebody was evicted."""
    evicted = False
    while _demand(tables, core) > core.counts[at.FREE]:
        _preempt_last(tables, columns, core)
        evicted = True
    if evicted:
        _next_finish(core)
    core.counts[at.FREE] -= _demand(tables, core)
    return evicted


@inline
def _chunk(tables: Tables, rest: int, budget: int) -> int:
    """Prompt tokens that go into what is left of the token budget; only `continuous` cuts a prompt that others precede."""
    if rest <= budget:
        return rest
    whole = tables.whole[at.MODE] != at.CONTINUOUS or tables.whole[at.ONE_SHOT] == 1
    return 0 if whole and budget < tables.whole[at.MAX_TOKENS] else budget


@inline
def _log_chunk(columns: Columns, core: Core, slot: int, tokens: int) -> None:
    count, request = core.counts, core.running[slot, at.ID]
    core.running[slot, at.CHUNK] = tokens
    done = columns.tokens[request, at.DONE]
    core.chunks[count[at.B_CHUNKS], at.QUERY] = tokens
    core.chunks[count[at.B_CHUNKS], at.PRIOR] = done
    count[at.B_CHUNKS] += 1
    target = columns.tokens[request, at.INPUT] + columns.tokens[request, at.MADE]
    count[at.B_SAMPLES] += done + tokens == target


@inline
def _go_on(tables: Tables, columns: Columns, core: Core, budget: int) -> int:
    """Chunks of prompts that are already running; returns what is left of the budget."""
    if core.counts[at.N_RUNNING] > core.counts[at.N_DECODING]:
        for i in range(core.counts[at.N_RUNNING]):
            if core.running[i, at.DECODES] == 0:
                request = core.running[i, at.ID]
                rest = (
                    columns.tokens[request, at.INPUT]
                    + columns.tokens[request, at.MADE]
                    - columns.tokens[request, at.DONE]
                )
                tokens = _chunk(tables, rest, budget)
                if tokens == 0:
                    break
                _log_chunk(columns, core, i, tokens)
                budget -= tokens
    return budget


@inline
def _admit(tables: Tables, columns: Columns, core: Core, budget: int, room: int) -> None:
    """Take from the front of the queue while sequences, tokens and blocks allow. room: free blocks not spoken for."""
    count, whole = core.counts, tables.whole
    static = whole[at.MODE] == at.STATIC
    while count[at.N_WAITING] > 0 and count[at.N_RUNNING] < whole[at.MAX_SEQS] and (budget > 0 or static):
        request = count[at.HEAD]
        target = columns.tokens[request, at.INPUT] + columns.tokens[request, at.MADE]
        held = _blocks(target, whole[at.BLOCK])
        need = held
        if static:
            longest = columns.tokens[request, at.INPUT] + columns.tokens[request, at.OUTPUT] + whole[at.VERIFY] - 2
            need = _blocks(longest, whole[at.BLOCK])
        reserve = whole[at.WATERMARK] if count[at.N_RUNNING] > 0 else 0
        tokens = _chunk(tables, target - columns.tokens[request, at.CACHED], budget) if budget > 0 else 0
        if need + reserve > room or (tokens == 0 and not static):
            break
        room -= need
        count[at.FREE] -= held
        count[at.HEAD] = columns.tokens[request, at.NEXT]
        count[at.N_WAITING] -= 1
        slot = count[at.N_RUNNING]
        core.running[slot, at.ID] = request
        core.running[slot, at.CHUNK] = core.running[slot, at.DECODES] = core.running[slot, at.FRESH] = 0
        count[at.N_RUNNING] += 1
        columns.tokens[request, at.STATUS] = at.RUNNING
        core.clock[at.LOAD_S] += columns.times_s[request, at.LOAD]
        columns.times_s[request, at.LOAD] = 0.0
        count[at.HOST_FREE] += _blocks(columns.tokens[request, at.PARKED], whole[at.BLOCK])
        columns.tokens[request, at.PARKED] = 0
        columns.tokens[request, at.DONE] = columns.tokens[request, at.CACHED]
        if math.isnan(columns.times_s[request, at.ADMITTED]):
            columns.times_s[request, at.ADMITTED] = core.clock[at.NOW]
        if tokens > 0:
            _log_chunk(columns, core, slot, tokens)
            budget -= tokens
        if tokens == 0 or tokens < target - columns.tokens[request, at.CACHED]:
            budget = 0  # whoever is cut or left out is the last of this batch


@inline
def _form(tables: Tables, columns: Columns, core: Core) -> bool:
    """Decide the next batch. False: there is nothing to do."""
    count, whole = core.counts, tables.whole
    count[at.B_DECODES] = count[at.B_CHUNKS] = count[at.B_SAMPLES] = count[at.NEWCOMER] = 0
    if count[at.N_RUNNING] == 0 and count[at.N_WAITING] == 0:
        return False
    if whole[at.MODE] == at.CONTINUOUS:
        evicted = count[at.N_DECODING] > 0 and _grow(tables, columns, core)
        count[at.B_DECODES] = count[at.N_DECODING]
        count[at.B_SAMPLES] = count[at.N_DECODING] * whole[at.VERIFY]
        budget = _go_on(tables, columns, core, whole[at.MAX_TOKENS] - count[at.B_SAMPLES])
        if not evicted:
            _admit(tables, columns, core, budget, count[at.FREE])
        return bool(count[at.B_DECODES] + count[at.B_CHUNKS] > 0)  # nothing: who waits lacks blocks that others hold
    budget = _go_on(tables, columns, core, whole[at.MAX_TOKENS])
    if whole[at.MODE] == at.PREFILL_FIRST or count[at.N_RUNNING] == 0:
        _admit(tables, columns, core, budget, count[at.FREE] - _demand(tables, core))
    if count[at.B_CHUNKS] == 0:
        _grow(tables, columns, core)
        count[at.B_DECODES] = count[at.N_DECODING]
        count[at.B_SAMPLES] = count[at.N_DECODING] * whole[at.VERIFY]
    return bool(count[at.B_DECODES] + count[at.B_CHUNKS] > 0)


@inline
def _finish(tables: Tables, columns: Columns, core: Core, slot: int) -> None:
    count, request = core.counts, core.running[slot, at.ID]
    if core.running[slot, at.DECODES] == 1:
        beyond = count[at.STEP] - core.running[slot, at.FINISH_STEP]
        count[at.EMITTED] -= beyond
        core.gaps[0] -= beyond
    _leave(tables, columns, core, slot)
    columns.tokens[request, at.MADE] = columns.tokens[request, at.OUTPUT]
    columns.times_s[request, at.FINISH] = core.clock[at.END]
    columns.tokens[request, at.STATUS] = at.FINISHED
    count[at.N_FINISHED] += 1
    core.reported[count[at.REPORTED] % len(core.reported)] = request
    count[at.REPORTED] += 1


@inline
def _decoded(tables: Tables, columns: Columns, core: Core) -> None:
    """Every decoding sequence has made a token, and those that were drafted well come with it."""
    count, end_s = core.counts, core.clock[at.END]
    made = tokens_made(tables, count[at.ROUND])
    count[at.ROUND] += 1
    count[at.STEP] += made
    count[at.KV_TOKENS] += count[at.N_DECODING] * made
    count[at.EMITTED] += count[at.N_DECODING] * made
    core.gaps[0] += count[at.N_DECODING] * (made - 1)
    if count[at.N_DECODING] > count[at.N_FRESH]:
        core.gaps[gap_bin(end_s - core.clock[at.LAST_DECODE])] += count[at.N_DECODING] - count[at.N_FRESH]
    if count[at.N_FRESH] > 0:
        for i in range(count[at.N_RUNNING]):
            if core.running[i, at.FRESH] == 1:
                core.gaps[gap_bin(end_s - columns.times_s[core.running[i, at.ID], at.LAST])] += 1
                core.running[i, at.FRESH] = 0
        count[at.N_FRESH] = 0
    core.clock[at.LAST_DECODE] = end_s


@inline
def _prefilled(tables: Tables, columns: Columns, core: Core, slot: int) -> bool:
    """A chunk is done; if it was the last, the sequence has made a token and decodes from now on. True: it is finished."""
    count, request, end_s = core.counts, core.running[slot, at.ID], core.clock[at.END]
    tokens = columns.tokens
    tokens[request, at.DONE] += core.running[slot, at.CHUNK]
    core.running[slot, at.CHUNK] = 0
    cached = tokens[request, at.INPUT] + tokens[request, at.MADE]
    if tokens[request, at.DONE] < cached:
        return False
    if tokens[request, at.MADE] == 0:
        columns.times_s[request, at.FIRST] = end_s
    else:
        core.gaps[gap_bin(end_s - columns.times_s[request, at.LAST])] += 1
    columns.times_s[request, at.LAST] = end_s
    left = tokens[request, at.OUTPUT] - tokens[request, at.MADE] - 1
    if left == 0:
        return True
    tokens[request, at.MADE] += 1
    core.running[slot, at.DECODES] = core.running[slot, at.FRESH] = 1
    core.running[slot, at.FINISH_STEP] = count[at.STEP] + left
    count[at.N_DECODING] += 1
    count[at.N_FRESH] += 1
    count[at.KV_TOKENS] += cached + 1
    core.growth[(cached - count[at.STEP]) % tables.whole[at.BLOCK]] += 1
    return False


@inline
def _complete(tables: Tables, columns: Columns, core: Core) -> None:
    """The iteration at work has ended."""
    count = core.counts
    core.clock[at.LOAD_S] = 0.0
    if count[at.B_DECODES] > 0:
        _decoded(tables, columns, core)
    if count[at.B_CHUNKS] == 0 and count[at.MIN_FINISH] > count[at.STEP]:
        return
    kept = 0
    for i in range(count[at.N_RUNNING]):
        if core.running[i, at.CHUNK] > 0:
            gone = _prefilled(tables, columns, core, i)
        else:
            gone = core.running[i, at.DECODES] == 1 and core.running[i, at.FINISH_STEP] <= count[at.STEP]
        if gone:
            _finish(tables, columns, core, i)
        else:
            if kept < i:
                for column in range(at.SLOTS):
                    core.running[kept, column] = core.running[i, column]
            kept += 1
    count[at.N_RUNNING] = kept
    _next_finish(core)


@inline
def _begin(tables: Tables, core: Core) -> bool:
    """Price the batch that was formed and start it. False: a price is missing."""
    chunk_tokens = 0
    for i in range(core.counts[at.B_CHUNKS]):
        chunk_tokens += core.chunks[i, at.QUERY]
    if not price(tables, core, chunk_tokens):
        return False
    book(tables, core, chunk_tokens)
    core.clock[at.END] = core.clock[at.NOW] + core.clock[at.SECONDS]
    core.counts[at.PHASE] = at.BUSY
    return True


@inline
def _advance(tables: Tables, columns: Columns, core: Core, until_s: float, decide: bool) -> bool:
    count, clock = core.counts, core.clock
    while True:
        if count[at.PHASE] == at.BUSY:
            if clock[at.END] > until_s:
                return True
            if may_leap(tables, core):
                leap(tables, core, until_s, decide, False)
                continue
            _complete(tables, columns, core)
            clock[at.NOW] = clock[at.END]
            count[at.PHASE] = at.IDLE
        if count[at.PHASE] == at.IDLE:
            if clock[at.NOW] > until_s or (clock[at.NOW] == until_s and not decide):
                return True
            if not _form(tables, columns, core):
                return True
            count[at.PHASE] = at.FORMED
        if not _begin(tables, core):
            return False


@inline
def _arrive(tables: Tables, columns: Columns, core: Core, request: int, now: float) -> bool:
    refused = refused_for(tables.whole, columns.tokens[request, at.INPUT], columns.tokens[request, at.OUTPUT])
    if refused:
        columns.tokens[request, at.STATUS] = refused
        return False
    if core.counts[at.PHASE] == at.IDLE:
        core.clock[at.NOW] = max(core.clock[at.NOW], now)
    _push(columns, core.counts, request, False)
    core.counts[at.NEWCOMER] = 1
    return True


@jit
def advance(tables: Tables, columns: Columns, core: Core, until_s: float, decide: bool, request: int) -> int:
    """Run the replica until `until_s`: iterations that end then are completed; one may start then only if `decide`. Then
    queue `request`, which arrives at that moment, if it is not negative.

    Returns 1; 2 if the request is refused (its status says why); 0 if a price is missing: core.counts names it, call again
    once it is filled in.
    """
    if not _advance(tables, columns, core, until_s, decide):
        return 0
    return 1 if request < 0 or _arrive(tables, columns, core, request, until_s) else 2


@jit
def horizon(tables: Tables, core: Core) -> float:
    """When the replica must be looked at again if nobody interferes: the end of the leap at work. Changes nothing that counts.

    A leap ends with the first iteration that completes a prompt or a request, or after which a sequence lacks a block.
    """
    if core.counts[at.PHASE] != at.BUSY:
        return math.inf
    return leap(tables, core, math.inf, True, True) if may_leap(tables, core) else float(core.clock[at.END])
