"""State of a serving run as arrays: requests are rows of columns that all replicas share; a replica is a few packed arrays.

Jitted calls with many arguments cost more than the work they do, so everything is packed; the names below are the columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..lowering.kinds import PARTS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# columns of Requests.times_s [N, 6]; LOAD: seconds that its KV takes to come back on admission
ARRIVAL, ADMITTED, FIRST, FINISH, LAST, LOAD = range(6)
TIMES = 6
# columns of Requests.tokens [N, 12]; NEXT links the waiting queue; CACHED: tokens whose KV is already there on admission;
# PARKED: tokens whose KV is in host memory; PRIORITY: lower goes first; CLIENT: who asks
INPUT, OUTPUT, CACHED, MADE, NEXT, STATUS, PREEMPTED, REPLICA, DONE, PARKED, PRIORITY, CLIENT = range(12)
TOKENS = 12
# STATUS
PENDING, WAITING, RUNNING, FINISHED, TOO_LONG, NO_CAPACITY, ONE_PASS, MOVING, SHED, EXPIRED = range(10)
REASONS = {
    TOO_LONG: "longer than max_model_len",
    NO_CAPACITY: "longer than the KV cache of a replica",
    ONE_PASS: "longer than max_batched_tokens, and the prompt cannot be cut",
    PENDING: "never arrived before the run ended",
    WAITING: "left waiting by the scheduler",
    RUNNING: "left running by the scheduler",
    MOVING: "left between prefill and decode",
    SHED: "turned away, the queue was full",
    EXPIRED: "given up, waited too long",
}
# columns of a running sequence [S, 5]: CHUNK = prompt tokens in the batch at work; DECODES = 1 once its prompt is done;
# FINISH_STEP = the replica's STEP at which its last token is made; FRESH = 1 until its first decode step
ID, CHUNK, DECODES, FINISH_STEP, FRESH = range(5)
SLOTS = 5
# counters of a replica
(
    HEAD,
    TAIL,
    N_WAITING,
    N_RUNNING,
    N_DECODING,
    N_FRESH,
    STEP,
    FREE,
    KV_TOKENS,
    PHASE,
    B_DECODES,
    B_CHUNKS,
    B_SAMPLES,
) = range(13)
(MIN_FINISH, PREEMPTIONS, ITERATIONS, PEAK_BLOCKS, PEAK_RUNNING, MISSING, MISSING_ROW, MISSING_COLUMN) = range(13, 21)
# NEWCOMER: the batch at work does not know it. STEP counts the tokens that each decoding sequence has made since the start, ROUND
# the decode steps that have ended (equal unless several tokens are drafted); DECODED: sequences of all decode steps; EMITTED:
# tokens that they made
(REPORTED, N_FINISHED, PREFILLED, DECODED, DECODE_STEPS, NEWCOMER, ROUND, EMITTED, HOST_FREE, SWAPS) = range(21, 31)
COUNTERS = 31
# PHASE
IDLE, FORMED, BUSY = range(3)
# clocks of a replica [s]; integrals over its busy time (running sequences, blocks); parts of the iteration at work
(NOW, END, LAST_DECODE, BUSY_S, RUNNING_S, BLOCK_S, DECODE_S, PREFILL_S, LOGITS_S, HOST_S, SECONDS) = range(11)
# their sums, by what the time was for: attention of decodes and prompts; logits and host time, each for (prefill, decode)
SUM_DECODE_S, SUM_PREFILL_S, SUM_LOGITS_S, SUM_HOST_S = 11, 12, 13, 15
TRUNK_S, DRAFT_S, SUM_DRAFT_S = 17, 18, 19
# KV moved over the host link before the iteration at work, and the sum of it
LOAD_S, SUM_LOAD_S = 20, 21
CLOCKS = 22
# rows of the log of chunks in the batch at work
QUERY, PRIOR = range(2)
# what a price may lack
NOTHING, TRUNK, LOGITS, DECODE, PREFILL = range(5)
# how a batch is formed by the compiled core
CONTINUOUS, PREFILL_FIRST, STATIC = range(3)
# integer settings; VERIFY: tokens of a sequence that a decode step looks at (drafted ones and one more); CP: ranks a prompt is
# spread over
(
    MODE,
    MAX_SEQS,
    MAX_TOKENS,
    BLOCK,
    BLOCKS,
    WATERMARK,
    MAX_LEN,
    ONE_SHOT,
    ATTENTION_DP,
    PP,
    PAD_KV,
    VERIFY,
    CP,
    HOST_BLOCKS,
) = range(14)
SETTINGS = 14
# float settings
LAUNCH_FLOOR_S, STEP_HOST_S, SEQUENCE_HOST_S, PROMPT_HOST_S, TOKENS_A_STEP, SWAP_TOKEN_S, PROMPT_GAPS = range(7)
REALS = 7

GAP_BINS = 1280  # 128 a decade from 1 us to 10,000 s: 1.8% wide
N_PARTS = len(PARTS)


class Tables(NamedTuple):
    """Prices of one replica, filled on first use (NaN = not yet).

    whole, real: settings. cell, weight: token count -> grid point at or below, and how far towards the next. trunk[P]:
    seconds of everything but attention and logits; own[P]: without the experts, which work for the tokens of all
    attention-DP ranks. row, row_weight: sequences -> row of decode[R, V], draft[R, V] and logits[R].
    query, query_weight: chunk length -> row of prefill[Q, V, 2] (fixed seconds; seconds of each sequence).
    """

    whole: IntArray
    real: FloatArray
    cell: IntArray
    weight: FloatArray
    trunk: FloatArray
    own: FloatArray
    row: IntArray
    row_weight: FloatArray
    logits: FloatArray
    decode: FloatArray
    draft: FloatArray
    query: IntArray
    query_weight: FloatArray
    prefill: FloatArray


class Columns(NamedTuple):
    """Requests of the whole fleet: times_s[N, 6] and tokens[N, 12]."""

    times_s: FloatArray
    tokens: IntArray


class Core(NamedTuple):
    """One replica at work. uses[3, P]: how often each trunk price was used, by prefill and decode tokens; and
    how much more often its `own` part, because prompts were spread unevenly over attention-DP ranks."""

    counts: IntArray
    clock: FloatArray
    running: IntArray
    chunks: IntArray
    growth: IntArray
    gaps: IntArray
    reported: IntArray
    uses: FloatArray


def columns_of(arrival_s: FloatArray, input_tokens: IntArray, output_tokens: IntArray) -> Columns:
    """Fresh columns of n requests, nothing of them done."""
    n = len(input_tokens)
    times_s = np.full((n, TIMES), np.nan)
    times_s[:, ARRIVAL] = arrival_s
    times_s[:, LOAD] = 0.0
    tokens = np.zeros((n, TOKENS), dtype=np.int64)
    tokens[:, INPUT] = input_tokens
    tokens[:, OUTPUT] = output_tokens
    tokens[:, NEXT] = -1
    tokens[:, REPLICA] = -1
    return Columns(times_s, tokens)


def core_of(tables: Tables) -> Core:
    """An empty replica at time 0."""
    slots = int(tables.whole[MAX_SEQS])
    count = np.zeros(COUNTERS, dtype=np.int64)
    count[HEAD] = count[TAIL] = -1
    count[FREE] = tables.whole[BLOCKS]
    count[HOST_FREE] = tables.whole[HOST_BLOCKS]
    count[MIN_FINISH] = np.iinfo(np.int64).max
    return Core(
        counts=count,
        clock=np.zeros(CLOCKS),
        running=np.zeros((slots, SLOTS), dtype=np.int64),
        chunks=np.zeros((slots, 2), dtype=np.int64),
        growth=np.zeros(int(tables.whole[BLOCK]), dtype=np.int64),
        gaps=np.zeros(GAP_BINS, dtype=np.int64),
        reported=np.zeros(slots, dtype=np.int64),
        uses=np.zeros((3, len(tables.trunk))),
    )
