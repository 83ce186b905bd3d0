"""How requests leave a compiled replica before they are done: all at once when it fails, or one that waited too long."""

from __future__ import annotations

import numpy as np

from ..jit import jit
from . import state as at
from .prices import cut
from .state import Columns, Core, IntArray, Tables


@jit
def evict_all(tables: Tables, columns: Columns, core: Core, now: float, gone: IntArray) -> None:
    """The replica fails at `now`, up to which it has been run: the iteration at work is lost, all KV too. `gone` is filled
    with who was here, in order of admission, then of the queue. Tokens made stay made: they are prompt from now on."""
    count, clock, tokens, block = core.counts, core.clock, columns.tokens, tables.whole[at.BLOCK]
    cut(tables, core, now)
    filled = 0
    for i in range(count[at.N_RUNNING]):
        request = core.running[i, at.ID]
        if core.running[i, at.DECODES] == 1:
            left = core.running[i, at.FINISH_STEP] - count[at.STEP]
            tokens[request, at.MADE] = tokens[request, at.OUTPUT] - left
            if core.running[i, at.FRESH] == 0:
                columns.times_s[request, at.LAST] = clock[at.LAST_DECODE]
        gone[filled] = request
        filled += 1
    request = count[at.HEAD]
    for _ in range(count[at.N_WAITING]):
        gone[filled] = request
        request = tokens[request, at.NEXT]
        filled += 1
    for i in range(filled):
        tokens[gone[i], at.STATUS] = at.PENDING
        tokens[gone[i], at.CACHED] = tokens[gone[i], at.PARKED] = 0
        columns.times_s[gone[i], at.LOAD] = 0.0
    count[at.N_RUNNING] = count[at.N_WAITING] = count[at.N_DECODING] = count[at.N_FRESH] = count[at.KV_TOKENS] = 0
    count[at.FREE] = tables.whole[at.BLOCKS]
    count[at.HOST_FREE] = tables.whole[at.HOST_BLOCKS]
    clock[at.LOAD_S] = 0.0
    count[at.MIN_FINISH] = np.iinfo(np.int64).max
    count[at.PHASE] = at.IDLE
    clock[at.NOW] = max(clock[at.NOW], now)
    clock[at.END] = clock[at.NOW]
    for i in range(block):
        core.growth[i] = 0


@jit
def withdraw(columns: Columns, core: Core, request: int, now: float) -> None:
    """Take a request that waits out of the queue at `now`, up to which the replica has been run."""
    count, tokens = core.counts, columns.tokens
    before, here = -1, count[at.HEAD]
    while here != request:
        before, here = here, tokens[here, at.NEXT]
    if before < 0:
        count[at.HEAD] = tokens[request, at.NEXT]
    else:
        tokens[before, at.NEXT] = tokens[request, at.NEXT]
    if count[at.TAIL] == request:
        count[at.TAIL] = before
    count[at.N_WAITING] -= 1
    count[at.NEWCOMER] = 1  # whoever stood behind it may fit
    if count[at.PHASE] == at.IDLE:
        core.clock[at.NOW] = max(core.clock[at.NOW], now)
