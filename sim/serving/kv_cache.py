"""The KV cache of one replica in paged blocks, as a scheduler sees it."""

from __future__ import annotations


class KvCache:
    """Blocks of `block` tokens. Free and held blocks always add up to `blocks`.

    growing: blocks that the running sequences need before each can make its next token; admissions must leave them free.
    watermark: blocks that an admission leaves free while something runs, so that it does not evict at once.
    """

    def __init__(self, block: int, blocks: int, watermark: int) -> None:
        self.block = block
        self.blocks = blocks
        self.watermark = watermark
        self.free = blocks
        self.growing = 0

    @property
    def held(self) -> int:
        """Blocks in use."""
        return self.blocks - self.free

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many tokens of one sequence."""
        return (tokens + self.block - 1) // self.block

    def room(self, spoken_for: int, running: int) -> int:
        """Blocks that one more admission may take, when `spoken_for` were promised before it in this decision."""
        return self.free - self.growing - spoken_for - (self.watermark if running else 0)

    def take(self, blocks: int) -> None:
        """Hold blocks; the caller has looked whether they are free."""
        self.free -= blocks

    def give_back(self, blocks: int) -> None:
        """Free blocks."""
        self.free += blocks
