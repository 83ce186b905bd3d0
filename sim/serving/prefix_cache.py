"""Prefix cache of one replica: which prefix blocks of earlier prompts still have KV, least recently used out first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class PrefixCache:
    """Blocks of `block_tokens` tokens, told apart by the ids of the trace: equal ids are equal prefixes.

    A prompt counts as stored from its arrival on. The cache lives in the blocks that running sequences leave free; a
    sequence that reuses a prefix still holds blocks for all of its tokens, so that capacity is never overstated.
    """

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._held: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def found(self, blocks: Sequence[int]) -> int:
        """Blocks at the start of a prompt that are stored."""
        hits = 0
        while hits < len(blocks) and blocks[hits] in self._held:
            hits += 1
        return hits

    def reuse(self, ids: Iterable[int], input_tokens: int, room_tokens: int) -> int:
        """Tokens of the prompt that need not be computed (never its last one); then the prompt is stored."""
        blocks = list(ids)
        hits = self.found(blocks)
        for block in reversed(blocks):  # the first block of a prefix is worth most: it goes last
            self._held[block] = None
            self._held.move_to_end(block)
        while self._held and len(self._held) * self.block_tokens > room_tokens:
            self._held.popitem(last=False)
        return min(hits * self.block_tokens, input_tokens - 1)
