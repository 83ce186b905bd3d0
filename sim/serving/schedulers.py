"""Schedulers: which sequences run next, with how many prompt tokens. Small, replaceable, chosen by name or dotted path.

Your own: a class with `decide(now, waiting, running, kv)` that returns (Batch, stable_for); its constructor takes one
argument, `Limits` (max_num_seqs, max_batched_tokens, ...), or none. `waiting` is in queue order, `running` in order of
admission; both hold `Sequence`s. Decide only; the replica carries out: it admits what the batch takes from `waiting` while
blocks last, gives decoding sequences their next block, and evicts from the end of `running` when there is none (its KV is
computed again later).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import InputError, did_you_mean
from .kv_cache import KvCache
from .limits import Limits
from .state import CONTINUOUS, PREFILL_FIRST, STATIC


class Sequence:
    """A request in a replica. target_tokens: prompt plus what was made before it was last evicted; done_tokens of them
    have KV; made_tokens: output so far; priority: lower goes first; client: who asks."""

    __slots__ = (
        "arrival_s", "cached_tokens", "client", "done_tokens", "id", "input_tokens", "last_s", "made_tokens",
        "output_tokens", "priority", "running", "target_tokens",
    )  # fmt: skip

    def __init__(self, id: int, arrival_s: float, input_tokens: int, output_tokens: int, cached_tokens: int) -> None:
        self.id = id
        self.arrival_s = arrival_s
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.cached_tokens = cached_tokens
        self.target_tokens = input_tokens
        self.done_tokens = cached_tokens
        self.made_tokens = 0
        self.last_s = 0.0
        self.priority = self.client = 0
        self.running = False

    @property
    def left_tokens(self) -> int:
        """Prompt tokens still to be computed; 0: it decodes."""
        return max(0, self.target_tokens - self.done_tokens)

    @property
    def decodes(self) -> bool:
        """True once its prompt is done."""
        return self.running and self.done_tokens >= self.target_tokens

    @property
    def kv_tokens(self) -> int:
        """Tokens that have, or have been promised, KV."""
        return max(self.done_tokens, self.target_tokens)

    def __repr__(self) -> str:
        return f"Sequence({self.id}, {self.done_tokens}/{self.target_tokens} done, {self.made_tokens} made)"


@dataclass(frozen=True)
class Batch:
    """One iteration: who decodes, and (who, how many prompt tokens). admits: who else may start to hold blocks."""

    decodes: list[Sequence] = field(default_factory=list)
    chunks: list[tuple[Sequence, int]] = field(default_factory=list)
    admits: list[Sequence] = field(default_factory=list)


class Scheduler(Protocol):
    """The one method that a scheduler needs. stable_for: iterations for which the same decodes would be chosen again if
    nothing arrives, completes or lacks a block."""

    def decide(
        self, now: float, waiting: list[Sequence], running: list[Sequence], kv: KvCache
    ) -> tuple[Batch, int]: ...


def _next_completion(decodes: Iterable[Sequence]) -> int:
    return min((s.output_tokens - s.made_tokens for s in decodes), default=1)


class _Builtin:
    """What the three schedulers share."""

    mode = -1

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def _chunk(self, left: int, budget: int) -> int:
        """Prompts are cut only if they alone exceed the budget."""
        return left if left <= budget else (budget if budget == self.limits.max_batched_tokens else 0)

    def _go_on(self, running: list[Sequence], budget: int) -> tuple[list[tuple[Sequence, int]], int]:
        chunks = []
        for sequence in running:
            if not sequence.decodes:
                tokens = self._chunk(sequence.left_tokens, budget)
                if tokens == 0:
                    break
                chunks.append((sequence, tokens))
                budget -= tokens
        return chunks, budget

    def _admit(self, waiting: Iterable[Sequence], running: int, budget: int, kv: KvCache) -> list[tuple[Sequence, int]]:
        """From the front of the queue, while sequences, tokens and blocks allow."""
        chunks: list[tuple[Sequence, int]] = []
        promised = 0
        for sequence in waiting:
            if running == self.limits.max_num_seqs or budget <= 0:
                break
            tokens, need = self._chunk(sequence.left_tokens, budget), kv.blocks_for(sequence.target_tokens)
            if tokens == 0 or need > kv.room(promised, running):
                break
            promised += need
            chunks.append((sequence, tokens))
            budget = budget - tokens if tokens == sequence.left_tokens else 0
            running += 1
        return chunks


class Continuous(_Builtin):
    """Decodes first; prompts fill what is left of the token budget, cut where it ends (chunked prefill; vLLM V1)."""

    mode = CONTINUOUS

    def _chunk(self, left: int, budget: int) -> int:
        return super()._chunk(left, budget) if self.limits.one_shot else min(left, budget)

    def decide(self, now: float, waiting: list[Sequence], running: list[Sequence], kv: KvCache) -> tuple[Batch, int]:
        decodes = [s for s in running if s.decodes]
        chunks, budget = self._go_on(running, self.limits.max_batched_tokens - len(decodes) * (1 + self.limits.drafts))
        if kv.growing <= kv.free:
            chunks += self._admit(waiting, len(running), budget, kv)
        return Batch(decodes, chunks), 1 if chunks else _next_completion(decodes)


class PrefillFirst(_Builtin):
    """Whole prompts up to the token budget before anything decodes (SGLang without mixed chunks)."""

    mode = PREFILL_FIRST

    def decide(self, now: float, waiting: list[Sequence], running: list[Sequence], kv: KvCache) -> tuple[Batch, int]:
        chunks, budget = self._go_on(running, self.limits.max_batched_tokens)
        chunks += self._admit(waiting, len(running), budget, kv)
        if chunks:
            return Batch(chunks=chunks), 1
        decodes = [s for s in running if s.decodes]
        return Batch(decodes), _next_completion(decodes)


class Static(_Builtin):
    """A batch of what waits, blocks for its full length reserved; nobody joins until all of it is done."""

    mode = STATIC

    def decide(self, now: float, waiting: list[Sequence], running: list[Sequence], kv: KvCache) -> tuple[Batch, int]:
        admits: list[Sequence] = []
        if not running:
            admits = self._batch(waiting, kv)
        chunks, _ = self._go_on(admits or running, self.limits.max_batched_tokens)
        if chunks:
            return Batch(chunks=chunks, admits=admits), 1
        decodes = [s for s in running if s.decodes]
        return Batch(decodes), _next_completion(decodes)

    def _batch(self, waiting: list[Sequence], kv: KvCache) -> list[Sequence]:
        admits: list[Sequence] = []
        promised = 0
        for sequence in waiting[: self.limits.max_num_seqs]:
            need = kv.blocks_for(sequence.input_tokens + sequence.output_tokens - 1 + self.limits.drafts)
            if need > kv.room(promised, len(admits)):
                break
            promised += need
            admits.append(sequence)
        return admits


class Priority(Continuous):
    """Continuous batching that admits the lowest priority number first and gives up the highest first; equals in queue order."""

    mode = -1

    def decide(self, now: float, waiting: list[Sequence], running: list[Sequence], kv: KvCache) -> tuple[Batch, int]:
        return super().decide(now, sorted(waiting, key=lambda s: s.priority), running, kv)

    def victim(self, running: list[Sequence]) -> Sequence:
        """Whoever matters least; among equals who was admitted last."""
        return max(reversed(running), key=lambda s: s.priority)


class Fair(Continuous):
    """Continuous batching that admits from the client that has been served least: virtual token counters, one for an input
    token and two for an output token. A client that comes back is lifted to the least of those that wait, so that nobody saves
    up. Source: Sheng et al., 2024, Fairness in serving large language models, algorithm 2."""

    mode = -1
    input_weight, output_weight = 1.0, 2.0

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.served: dict[int, float] = {}
        self.queued: set[int] = set()
        self.charged: dict[int, tuple[Sequence, int]] = {}  # running ones, output tokens paid for

    def decide(self, now: float, waiting: list[Sequence], running: list[Sequence], kv: KvCache) -> tuple[Batch, int]:
        self._charge()
        clients = {s.client for s in waiting}
        least = min((self.served[c] for c in clients & self.queued), default=0.0)
        for client in clients - self.queued:
            self.served[client] = max(self.served.get(client, 0.0), least)
        self.queued = clients
        return super().decide(now, list(self._order(waiting)), running, kv)

    def _charge(self) -> None:
        """Output tokens made since the last decision."""
        for request, (sequence, paid) in list(self.charged.items()):
            self.served[sequence.client] += self.output_weight * (sequence.made_tokens - paid)
            self.charged[request] = sequence, sequence.made_tokens
            if not sequence.running:
                del self.charged[request]

    def _order(self, waiting: list[Sequence]) -> Iterable[Sequence]:
        """The queue as it would be admitted: each prompt counts for its client as soon as it is in."""
        queues: dict[int, list[Sequence]] = {}
        for sequence in reversed(waiting):
            queues.setdefault(sequence.client, []).append(sequence)
        counted = {client: self.served[client] for client in queues}
        while queues:
            client = min(queues, key=lambda c: (counted[c], queues[c][-1].arrival_s, c))
            sequence = queues[client].pop()
            counted[client] += self.input_weight * sequence.input_tokens
            if not queues[client]:
                del queues[client]
            yield sequence

    def _admit(self, waiting: Iterable[Sequence], running: int, budget: int, kv: KvCache) -> list[tuple[Sequence, int]]:
        chunks = super()._admit(waiting, running, budget, kv)
        for sequence, _ in chunks:
            if sequence.made_tokens == 0:  # one that was evicted has paid
                self.served[sequence.client] += self.input_weight * sequence.input_tokens
            self.charged[sequence.id] = sequence, sequence.made_tokens
        return chunks


SCHEDULERS: dict[str, type[_Builtin]] = {
    "continuous": Continuous,
    "prefill_first": PrefillFirst,
    "static": Static,
    "priority": Priority,
    "fair": Fair,
}


def load(path: str, known: dict[str, Any], what: str, method: str) -> Any:
    """The class of a short name or of the user's dotted path. Raises InputError if there is none or it lacks its method."""
    name = path.replace("-", "_").lower()
    if name in known:
        return known[name]
    module_name, _, class_name = path.rpartition(".")
    if not module_name:
        raise InputError(
            f"{what} = {path}: no such {what}. {did_you_mean(path, known)} Or give a dotted path, my_module.MyClass."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not module_name.startswith(error.name):
            raise  # the module exists; something that it imports does not
        raise InputError(f"{what} = {path}: there is no module {module_name}. Put it on PYTHONPATH.") from None
    found = getattr(module, class_name, None)
    if found is None:
        raise InputError(
            f"{what} = {path}: {module_name} has no {class_name}. {did_you_mean(class_name, vars(module))}".rstrip()
        )
    if not callable(getattr(found, method, None)):
        raise InputError(f"{what} = {path}: {class_name} has no method {method}. Add it.")
    return found


def make(found: Any, argument: object) -> Any:
    """An instance; the constructor takes one argument or none."""
    takes = found.__init__ is not object.__init__ and len(inspect.signature(found).parameters) > 0
    return found(argument) if takes else found()
