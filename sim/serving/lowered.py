"""What the passes of a serving replica cost, as a function of tokens, sequences and lengths: lowering, priced in batches.

A pass splits into three: `trunk` (depends on the number of tokens alone, whatever they are), `logits` (on the sequences that
sample a token), and what looks at sequences one by one (attention, and projections that differ between prompt and decode).
Which rows belong where is found by lowering the same number of tokens once as decodes and once as prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.calibrations import Stack
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..lowering.kernels import DTYPE_IDS, EMBEDDING, HEAD, SEND, Kernels
from ..lowering.kinds import KIND_IDS, KINDS, PART_IDS, PARTS, PHASE_IDS
from ..lowering.passes import units
from ..lowering.sharding import Step
from .state import FloatArray, IntArray

Price = Callable[[Kernels], FloatArray]  # seconds of one run of each row
CLASSES = (*(kind.name for kind in KINDS), "latent_decode")  # of kernels that a stack knows a factor of
_LOOKS = [KIND_IDS[name] for name in ("attention_prefill", "attention_decode", "linear_attention")]


class Lowered:
    """Seconds of the parts of a pass of one replica (its slowest rank; all stages of a pipeline together)."""

    def __init__(
        self, model: Model, plan: Plan, price: Price, stack: Stack | None = None, query_tokens: float = 1.0
    ) -> None:
        """stack: how kernels run among their neighbours (`among_neighbours`); None: as they do alone. query_tokens: of each
        sequence in a decode step."""
        self.model = model
        self.query_tokens = query_tokens
        self.plan = plan
        # experts beside attention data parallelism are copied and placed by their loads
        skewed = stack is not None and plan.attention_dp == 1
        self.skew = stack.factors.get("routing_skew", 0.0) if stack is not None and skewed else 0.0
        small_kernels = 0.0 if stack is None else stack.kernels_per_layer * model.layers
        alone = price if stack is None or not stack.all_experts else lambda rows: price(every_expert(rows))
        self.price = price if stack is None else lambda rows: among_neighbours(rows, alone(rows), stack)
        self.two_sided = any(block.side == "encoder" for block in model.blocks) and not model.encoder_only
        decode, prompt = self._table("decode", 6.0, 1.0, 35.0), self._table("prefill", 2.0, 3.0 * plan.cp, 50.0)
        shared = set(self._rows(decode)) & set(self._rows(prompt))
        self._in_trunk = {
            "decode": np.array([row in shared for row in self._rows(decode)]),
            "prefill": np.array([row in shared for row in self._rows(prompt)]),
        }
        self.launches = float(decode.count.sum()) + small_kernels
        self._small_s = small_kernels * float(self.price(small_kernel())[0]) if small_kernels else 0.0

    def trunk_s(self, tokens: FloatArray) -> FloatArray:
        """Seconds by part [n, PARTS] of so many tokens [n] of the whole replica (of a context-parallel rank), spread evenly over
        attention-DP ranks."""
        table = self._table("decode", np.ceil(tokens / self.plan.attention_dp), 1.0, 1.0)
        rows = np.repeat(self._in_trunk["decode"], len(tokens))
        out = np.zeros((len(tokens), len(PARTS)))
        if rows.any():
            kept = table.take(np.flatnonzero(rows))
            np.add.at(out, (kept.owner, kept.part), self.price(kept) * kept.count)
        out[:, PART_IDS["host"]] += self._small_s
        return out

    def logits_s(self, sequences: FloatArray) -> FloatArray:
        """Seconds [n] of sampling one token for so many sequences [n] of the whole replica."""
        table = self._table("decode", np.ceil(sequences / self.plan.attention_dp), 1.0, 1.0)
        return self._sum(table, ~self._trunk_rows(table, "decode") & (table.site == HEAD), len(sequences))

    def decode_s(self, sequences: FloatArray, kv_tokens: FloatArray) -> FloatArray:
        """Seconds [n] of the attention of so many sequences [n], the first token of each of which looks at kv_tokens [n]."""
        table = self._table("decode", sequences, self.query_tokens, kv_tokens + (self.query_tokens - 1.0))
        rows = ~self._trunk_rows(table, "decode") & (table.site != HEAD)
        if self.two_sided:  # the encoder has done its work
            sides = np.array([block.side == "encoder" for block in self.model.blocks])
            rows &= (table.site < 0) | ~sides[np.maximum(table.site, 0)]
        return self._sum(table, rows, len(sequences))

    def draft_s(self, sequences: FloatArray, kv_tokens: FloatArray) -> FloatArray:
        """Nothing is drafted."""
        return np.zeros(len(sequences))

    def prefill_s(self, sequences: FloatArray, query_tokens: FloatArray, kv_tokens: FloatArray) -> FloatArray:
        """Seconds [n] of the attention of query_tokens [n] new ones of each sequence over kv_tokens [n], theirs included."""
        table = self._table("prefill", sequences, query_tokens, kv_tokens)
        return self._sum(table, ~self._trunk_rows(table, "prefill") & (table.site != HEAD), len(sequences))

    def _trunk_rows(self, table: Kernels, phase: str) -> NDArray[np.bool_]:
        in_trunk = self._in_trunk[phase]
        return np.repeat(in_trunk, len(table) // len(in_trunk))

    def _sum(self, table: Kernels, rows: NDArray[np.bool_], n: int) -> FloatArray:
        if not rows.any():
            return np.zeros(n)
        kept = table.take(np.flatnonzero(rows))
        return np.bincount(kept.owner, self.price(kept) * kept.count, minlength=n).astype(np.float64)

    def _table(self, phase: str, sequences: Any, query_tokens: Any, kv_tokens: Any) -> Kernels:
        """n passes at once. Sequences are those of one attention-DP rank: every rank gets as many."""
        n = len(sequences) if isinstance(sequences, np.ndarray) else 1
        step = Step(phase, sequences * self.plan.attention_dp, query_tokens, kv_tokens, self.skew)
        table = units(self.model, [self.plan] * n, step)
        times = np.zeros(len(self.model.blocks) + 3)  # by site; the last ones are SEND, HEAD, EMBEDDING
        times[: len(self.model.blocks)] = [block.layers for block in self.model.blocks]
        times[EMBEDDING] = times[HEAD] = 1.0
        times[SEND] = self.plan.pp - 1.0
        return table.take(np.arange(len(table)), count=table.count * times[table.site])

    def _rows(self, table: Kernels) -> list[tuple[Any, ...]]:
        """What tells rows apart; rows that look at sequences are never equal, whatever their numbers."""
        keys = []
        for i in range(len(table)):
            look = int(table.kind[i]) in _LOOKS or self.two_sided
            where = int(table.phase[i]) if look else -1
            keys.append(
                (where, int(table.kind[i]), int(table.site[i]), int(table.part[i]), tuple(table.dims[i].tolist()))
            )
        return keys


def among_neighbours(rows: Kernels, seconds: FloatArray, stack: Stack) -> FloatArray:
    """Seconds of kernels timed alone -> of kernels that follow one another without the host [n]. Of each launch a part runs while
    its neighbours start and end, at most half of a kernel; what stays is multiplied by the stack's factor of its kind."""
    passes = np.array([stack.factors.get(f"{name}_passes", 1.0) for name in CLASSES])
    left = np.maximum(seconds - stack.launch_hidden_s * launches(rows), 0.5 * seconds)
    out: FloatArray = left * passes[classes(rows)]
    return out


def every_expert(rows: Kernels) -> Kernels:
    """Experts of compiled graphs: each multiplies every token, unless fewer are asked for than there are."""
    dims, moe = rows.dims.copy(), rows.kind == KIND_IDS["moe"]
    many = moe & (dims[:, 0] >= dims[:, 3])
    dims[many, 0] *= dims[many, 3] / dims[many, 6]
    dims[many, 6] = dims[many, 3]
    return rows.take(np.arange(len(rows)), dims=dims)


def classes(rows: Kernels) -> IntArray:
    """Index into CLASSES of each row [n]: its kind, but for decodes that look at latents, which are keys and values at once."""
    latent = (rows.kind == KIND_IDS["attention_decode"]) & (rows.dims[:, 6] <= rows.dims[:, 4])
    return np.where(latent, len(KINDS), rows.kind).astype(np.int64)


def launches(rows: Kernels) -> FloatArray:
    """Launches that each row stands for [n]."""
    return np.where(rows.kind == KIND_IDS["memory"], rows.dims[:, 2], 1.0)


def small_kernel() -> Kernels:
    """One launch that does next to nothing."""
    row = np.zeros((1, 8))
    row[0, 2] = 1.0
    one = np.zeros(1, dtype=np.int16)
    return Kernels(
        kind=one + np.int16(KIND_IDS["memory"]),
        dtype=one + np.int16(DTYPE_IDS["bf16"]),
        stored=one + np.int16(DTYPE_IDS["bf16"]),
        dims=row,
        count=np.ones(1),
        part=one + np.int16(PART_IDS["host"]),
        phase=one + np.int16(PHASE_IDS["decode"]),
        stage=np.zeros(1, dtype=np.int32),
        owner=np.zeros(1, dtype=np.int32),
        site=one,
    )
