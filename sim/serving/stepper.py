"""A replica step by step, with a scheduler in Python: the definition that the compiled core imitates, and what runs
schedulers of the user's own."""

from __future__ import annotations

import math
from collections.abc import Sequence as Sequence_

from ..errors import InputError
from . import state as at
from .kv_cache import KvCache
from .pack import Pack
from .prices import count_gap, cut_batch, price_batch, tokens_next
from .schedulers import Batch, Scheduler, Sequence
from .state import Columns, core_of


class Stepper:
    """One iteration at a time. The same columns, counters and clocks as the compiled core."""

    def __init__(
        self, pack: Pack, columns: Columns, scheduler: Scheduler, *, leap: bool = True, watch: Sequence_[object] = ()
    ) -> None:
        self.pack = pack
        self.columns = columns
        self.scheduler = scheduler
        self.leap = leap
        self.core = core_of(pack.tables)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        whole = pack.tables.whole
        self.kv = KvCache(int(whole[at.BLOCK]), int(whole[at.BLOCKS]), int(whole[at.WATERMARK]))
        self.batch = Batch()
        self.stable_for = 0
        self.finished: list[int] = []
        self.made = 1
        self.number = 0
        self._iteration = [watcher.iteration for watcher in watch if hasattr(watcher, "iteration")]

    def advance(self, until_s: float, decide: bool) -> None:
        """See `core.advance`."""
        count, clock = self.core.counts, self.core.clock
        while True:
            if count[at.PHASE] == at.BUSY:
                if clock[at.END] > until_s:
                    return
                self._complete(float(clock[at.END]))
                clock[at.NOW] = clock[at.END]
                count[at.PHASE] = at.IDLE
            if clock[at.NOW] > until_s or (clock[at.NOW] == until_s and not decide):
                return
            if not (self.running or self.waiting) or not self._begin():
                return

    def arrive(self, request: int, now: float) -> bool:
        """Reach `now` and queue the request; False: it was refused, its status says why."""
        times_s, tokens = self.columns.times_s[request], self.columns.tokens[request]
        self.advance(now, False)
        refused = self.pack.refused(int(tokens[at.INPUT]), int(tokens[at.OUTPUT]))
        if refused:
            tokens[at.STATUS] = refused
            return False
        self._wake(now)
        tokens[at.STATUS] = at.WAITING
        sequence = Sequence(
            request, float(times_s[at.ARRIVAL]), int(tokens[at.INPUT]), int(tokens[at.OUTPUT]), int(tokens[at.CACHED])
        )
        sequence.priority, sequence.client = int(tokens[at.PRIORITY]), int(tokens[at.CLIENT])
        if tokens[at.MADE]:  # it was served elsewhere before
            sequence.made_tokens, sequence.last_s = int(tokens[at.MADE]), float(times_s[at.LAST])
            sequence.target_tokens += sequence.made_tokens
        self.waiting.append(sequence)
        self.core.counts[at.N_WAITING] += 1
        return True

    def evict_all(self, now: float) -> list[int]:
        """See `exits.evict_all`."""
        cut_batch(self.pack.tables, self.core, now)
        gone = [sequence.id for sequence in [*self.running, *self.waiting]]
        for request in gone:
            self.columns.tokens[request, [at.STATUS, at.CACHED, at.PARKED]] = at.PENDING, 0, 0
            self.columns.times_s[request, at.LOAD] = 0.0
        self.running, self.waiting, self.batch = [], [], Batch()
        self.kv.free = self.kv.blocks
        self.core.counts[at.HOST_FREE] = self.pack.tables.whole[at.HOST_BLOCKS]
        self.core.clock[at.LOAD_S] = 0.0
        self.core.counts[at.PHASE] = at.IDLE
        self._wake(now)
        self.core.clock[at.END] = self.core.clock[at.NOW]
        self._publish()
        return gone

    def withdraw(self, request: int, now: float) -> None:
        """See `exits.withdraw`."""
        self.waiting = [sequence for sequence in self.waiting if sequence.id != request]
        self._wake(now)
        self._publish()

    def hold(self, blocks: int, now: float) -> None:
        """Keep blocks from running sequences, or give them back if negative."""
        self.kv.take(blocks)
        self.core.counts[at.FREE] = self.kv.free
        self._wake(now)

    def _wake(self, now: float) -> None:
        """What is here has changed: decide anew, if idle not before `now`."""
        clock = self.core.clock
        if self.core.counts[at.PHASE] == at.IDLE:
            clock[at.NOW] = max(clock[at.NOW], now)
        self.stable_for = 0

    def horizon(self) -> float:
        """When the replica must be looked at again if nobody interferes."""
        return float(self.core.clock[at.END]) if self.core.counts[at.PHASE] == at.BUSY else math.inf

    def take_finished(self) -> list[int]:
        """Requests that have finished since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def _begin(self) -> bool:
        """Decide, make room, start an iteration. False: the scheduler wants nothing now."""
        now = float(self.core.clock[at.NOW])
        self.made = tokens_next(self.pack.tables, int(self.core.counts[at.ROUND]))
        self.kv.growing = sum(self._growth(s) for s in self.running if s.decodes)
        if self.stable_for > 0 and self.leap and self.kv.growing <= self.kv.free:
            batch = self.batch
        else:
            batch, self.stable_for = self.scheduler.decide(now, self.waiting, self.running, self.kv)
            self._check(batch)
        decodes, evicted = self._grow(batch.decodes)
        chunks = self._admit(batch, now, evicted)
        if not decodes and not chunks:
            self.stable_for = 0
            return False
        self.batch = Batch(decodes, chunks)
        self.stable_for = 0 if chunks or evicted else self.stable_for - 1
        self._start(now)
        return True

    def _growth(self, sequence: Sequence) -> int:
        """Blocks that a decoding sequence needs for what it makes next."""
        return self.kv.blocks_for(sequence.done_tokens + self.made) - self.kv.blocks_for(sequence.done_tokens)

    def _check(self, batch: Batch) -> None:
        """An illegal batch is the scheduler's mistake: say so."""
        name = type(self.scheduler).__name__
        whole = self.pack.tables.whole
        for sequence in batch.decodes:
            if not sequence.decodes:
                raise InputError(
                    f"scheduler {name}: {sequence} cannot decode: its prompt is not done. Use it in chunks."
                )
        for sequence, tokens in batch.chunks:
            if not 0 < tokens <= sequence.left_tokens:
                raise InputError(f"scheduler {name}: a chunk of {tokens} for {sequence}. Use 1 to left_tokens.")
        tokens = len(batch.decodes) * whole[at.VERIFY] + sum(tokens for _, tokens in batch.chunks)
        if tokens > whole[at.MAX_TOKENS]:
            raise InputError(
                f"scheduler {name}: {tokens} tokens in a batch. Use at most max_batched_tokens = {whole[at.MAX_TOKENS]}."
            )
        members = [s.id for s in batch.decodes] + [s.id for s, _ in batch.chunks]
        if len(set(members)) < len(members):
            raise InputError(f"scheduler {name}: a sequence stands twice in one batch. Name it once.")

    def _grow(self, wanted: list[Sequence]) -> tuple[list[Sequence], bool]:
        """Give each decoding sequence of the batch the blocks that its next tokens need; evict from the end if none is free."""
        wanted_ids = {s.id for s in wanted}
        evicted = False
        while True:
            decodes = [s for s in self.running if s.id in wanted_ids]
            need = sum(self._growth(s) for s in decodes)
            if need <= self.kv.free:
                self.kv.take(need)
                return decodes, evicted
            self._evict(self._victim())
            evicted = True

    def _victim(self) -> Sequence:
        """Whoever the scheduler gives up first; the sequence that was admitted last, unless it has a method of that name."""
        choose = getattr(self.scheduler, "victim", None)
        sequence: Sequence = self.running[-1] if choose is None else choose(self.running)
        self.running.remove(sequence)
        return sequence

    def _evict(self, sequence: Sequence) -> None:
        self.kv.give_back(self.kv.blocks_for(sequence.kv_tokens))
        sequence.running = False
        sequence.target_tokens = sequence.input_tokens + sequence.made_tokens
        kept = self._park(sequence)
        sequence.done_tokens = sequence.cached_tokens = kept
        self.waiting.insert(0, sequence)
        tokens = self.columns.tokens[sequence.id]
        tokens[at.STATUS] = at.WAITING
        tokens[at.PREEMPTED] += 1
        tokens[at.CACHED] = tokens[at.PARKED] = kept
        self.core.counts[at.PREEMPTIONS] += 1

    def _park(self, sequence: Sequence) -> int:
        """Tokens whose KV goes to host memory; 0 if there is no room for all of it."""
        count, blocks = self.core.counts, self.kv.blocks_for(sequence.done_tokens)
        if sequence.done_tokens == 0 or blocks > count[at.HOST_FREE]:
            return 0
        count[at.HOST_FREE] -= blocks
        count[at.SWAPS] += 1
        load_s = sequence.done_tokens * float(self.pack.tables.real[at.SWAP_TOKEN_S])
        self.columns.times_s[sequence.id, at.LOAD] = load_s
        self.core.clock[at.LOAD_S] += load_s
        return sequence.done_tokens

    def _bring_back(self, sequence: Sequence) -> None:
        """What lay elsewhere of its KV comes before the iteration that it joins."""
        times_s, tokens = self.columns.times_s[sequence.id], self.columns.tokens[sequence.id]
        self.core.clock[at.LOAD_S] += times_s[at.LOAD]
        times_s[at.LOAD] = 0.0
        self.core.counts[at.HOST_FREE] += self.kv.blocks_for(int(tokens[at.PARKED]))
        tokens[at.PARKED] = 0

    def _admit(self, batch: Batch, now: float, evicted: bool) -> list[tuple[Sequence, int]]:
        """Start what the batch takes from the queue, as far as blocks and slots last; returns the chunks that can run."""
        refused = False
        for sequence in [*(s for s, _ in batch.chunks), *batch.admits]:
            if sequence.running:
                continue
            need = self.kv.blocks_for(sequence.target_tokens)
            full = len(self.running) == self.pack.tables.whole[at.MAX_SEQS] or need > self.kv.free
            refused = refused or evicted or full or sequence not in self.waiting
            if refused:
                continue
            self.kv.take(need)
            self.waiting.remove(sequence)
            self.running.append(sequence)
            sequence.running = True
            self._bring_back(sequence)
            self.columns.tokens[sequence.id, at.STATUS] = at.RUNNING
            if math.isnan(self.columns.times_s[sequence.id, at.ADMITTED]):
                self.columns.times_s[sequence.id, at.ADMITTED] = now
        return [(s, tokens) for s, tokens in batch.chunks if s.running]

    def _start(self, now: float) -> None:
        """Price the batch and start it."""
        count, clock, chunks = self.core.counts, self.core.clock, self.batch.chunks
        count[at.B_DECODES], count[at.B_CHUNKS] = len(self.batch.decodes), len(chunks)
        count[at.B_SAMPLES] = len(self.batch.decodes) * self.pack.tables.whole[at.VERIFY] + sum(
            tokens == s.left_tokens for s, tokens in chunks
        )
        for i, (sequence, tokens) in enumerate(chunks):
            self.core.chunks[i] = tokens, sequence.done_tokens
        self._publish()
        while not price_batch(self.pack.tables, self.core, sum(tokens for _, tokens in chunks)):
            self.pack.fill(self.core)
        clock[at.END] = now + clock[at.SECONDS]
        count[at.PHASE] = at.BUSY
        for tell in self._iteration:
            tell(self.number, now, float(clock[at.END]), len(self.batch.decodes), sum(t for _, t in chunks))

    def _publish(self) -> None:
        count = self.core.counts
        count[at.FREE] = self.kv.free
        count[at.N_WAITING], count[at.N_RUNNING] = len(self.waiting), len(self.running)
        count[at.KV_TOKENS] = sum(s.done_tokens + 1 for s in self.batch.decodes)

    def _complete(self, end_s: float) -> None:
        """The iteration has ended: tokens are made, sequences finish."""
        self.core.clock[at.LOAD_S] = 0.0
        if self.batch.decodes:
            self.core.counts[at.STEP] += self.made
            self.core.counts[at.ROUND] += 1
        for sequence in self.batch.decodes:
            sequence.done_tokens += self.made
            for _ in range(min(self.made, sequence.output_tokens - sequence.made_tokens)):
                self._made(sequence, end_s)
                self.core.counts[at.EMITTED] += 1
        for sequence, tokens in self.batch.chunks:
            sequence.done_tokens += tokens
            if sequence.done_tokens == sequence.target_tokens:
                self._made(sequence, end_s)
        done = [s for s in self.running if s.made_tokens == s.output_tokens]
        if done:
            self.running = [s for s in self.running if s.made_tokens < s.output_tokens]
            self.stable_for = 0
        for sequence in done:
            self._finish(sequence, end_s)
        self._publish()

    def _made(self, sequence: Sequence, end_s: float) -> None:
        times_s, tokens = self.columns.times_s[sequence.id], self.columns.tokens[sequence.id]
        if sequence.made_tokens == 0:
            times_s[at.FIRST] = end_s
        else:
            count_gap(self.core, end_s - sequence.last_s)
        sequence.last_s = times_s[at.LAST] = end_s
        sequence.made_tokens += 1
        tokens[at.MADE] = sequence.made_tokens

    def _finish(self, sequence: Sequence, end_s: float) -> None:
        self.kv.give_back(self.kv.blocks_for(sequence.kv_tokens))
        self.columns.times_s[sequence.id, at.FINISH] = end_s
        self.columns.tokens[sequence.id, at.STATUS] = at.FINISHED
        self.core.counts[at.N_FINISHED] += 1
        self.finished.append(sequence.id)
