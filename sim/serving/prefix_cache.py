"""Prefix cache of one replica: which prefix blocks of earlier prompts still have KV, least recently used out first."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence


class PrefixCache:
    """Blocks of `block_tokens` tokens, told apart by the ids of the trace: equal ids are equal prefixes.

    A prompt counts as stored from its arrival on. The cache lives in the blocks that running sequences leave free; a
    sequence that reuses a prefix still holds blocks for all of its tokens, so that capacity is never overstated. A block that
    the device lets go moves to the first of `tiers` (tokens that fit, seconds to bring a token back), from there to the next.
    """

    def __init__(self, block_tokens: int, tiers: Sequence[tuple[float, float]] = ()) -> None:
        self.block_tokens = block_tokens
        self.tiers = tuple(tiers)
        self.loaded_s = 0.0  # to bring back what the last prompt found outside the device
        self._held: OrderedDict[int, None] = OrderedDict()
        self._below: list[OrderedDict[int, None]] = [OrderedDict() for _ in tiers]

    def __len__(self) -> int:
        return len(self._held)

    def found(self, blocks: Sequence[int]) -> int:
        """Blocks at the start of a prompt that are stored, wherever."""
        hits = 0
        while hits < len(blocks) and self._holds(blocks[hits]):
            hits += 1
        return hits

    def _holds(self, block: int) -> bool:
        return block in self._held or any(block in below for below in self._below)

    def reuse(self, ids: Iterable[int], input_tokens: int, room_tokens: int) -> int:
        """Tokens of the prompt that need not be computed (never its last one); then the prompt is stored on the device."""
        blocks = list(ids)
        hits = self.found(blocks)
        self.loaded_s = math.fsum(map(self._load_s, blocks[:hits]))
        for block in reversed(blocks):  # the first block of a prefix is worth most: it goes last
            for below in self._below:
                below.pop(block, None)
            self._held[block] = None
            self._held.move_to_end(block)
        self._settle(room_tokens)
        return min(hits * self.block_tokens, input_tokens - 1)

    def _load_s(self, block: int) -> float:
        if block in self._held:
            return 0.0
        return self.block_tokens * next(
            token_s for below, (_, token_s) in zip(self._below, self.tiers, strict=True) if block in below
        )

    def _settle(self, room_tokens: int) -> None:
        """Whatever is over goes one tier down; below the last it is gone."""
        stores = [self._held, *self._below]
        rooms = [float(room_tokens), *(tokens for tokens, _ in self.tiers)]
        for place, (store, room) in enumerate(zip(stores, rooms, strict=True)):
            while store and len(store) * self.block_tokens > room:
                block, _ = store.popitem(last=False)
                if place < len(self.tiers):
                    stores[place + 1][block] = None
