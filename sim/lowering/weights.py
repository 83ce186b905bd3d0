"""How many parameters one rank holds, by site; one array entry a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..catalog.models import Model
from .kernels import EMBEDDING, HEAD
from .parameters import block_parameters, embedding_parameters
from .sharding import SCHEDULES, Column, Columns

WHOLE_ON_EACH_RANK = ("norm", "router")


@dataclass(frozen=True)
class Weights:
    """Parameters of one rank: of one layer of each block (dense and expert part), of the two ends, and of the modules beside the
    head that a trained model predicts further tokens with (dense and expert part). Whole over dp and cp."""

    model: Model
    dense: list[Column]
    experts: list[Column]
    embedding: Column
    head: Column
    further: tuple[Column, Column]

    def sites(self) -> Iterator[tuple[int, Column]]:
        """(site, parameters of one layer or end of this rank)."""
        for index, (dense, experts) in enumerate(zip(self.dense, self.experts, strict=True)):
            yield index, dense + experts
        if self.model.vocab:
            yield EMBEDDING, self.embedding
            yield HEAD, self.head + self.further[0] + self.further[1]

    def trained(self, c: Columns, size: Column) -> Column:
        """How many of them have gradients: all, or with LoRA two thin matrices for each square one (2 r / sqrt of its size)."""
        thin = 2.0 * c.lora_rank * np.sqrt(np.maximum(size, 1.0))
        return np.where(c.frozen, np.minimum(thin, size), size)

    def layer_sums(self, c: Columns) -> tuple[Column, Column]:
        """(dense, expert) parameters of all layers of one rank's pipeline, divided evenly over pp with the larger share first."""
        per_stage = -(-self.model.layers // c.pp) / self.model.layers
        dense = sum((b.layers * d for b, d in zip(self.model.blocks, self.dense, strict=True)), np.zeros(c.n))
        experts = sum((b.layers * e for b, e in zip(self.model.blocks, self.experts, strict=True)), np.zeros(c.n))
        return dense * per_stage, experts * per_stage

    def largest_stage(self, c: Columns) -> tuple[Column, Column]:
        """(dense, expert) parameters of the stage that holds most: the first, with the embedding, or the last, with the head;
        all of it without pp."""
        dense, experts = self.layer_sums(c)
        last = self.head + self.further[0]
        ends = np.where(c.pp > 1, np.maximum(self.embedding, last), self.embedding + last)
        return dense + ends, experts + self.further[1]


def weights(model: Model, c: Columns) -> Weights:
    """Parameters that one rank of each plan holds. Raises nothing: legality of a plan is `check`'s business."""
    dense, experts = [], []
    attention_ways = c.tp
    for block in model.blocks:
        parts = block_parameters(block, model)
        whole = sum(parts[name] for name in WHOLE_ON_EACH_RANK)
        split = parts["attention"] / attention_ways + (parts["ffn"] + parts["shared"] + parts["tables"]) / c.tp
        dense.append(np.asarray(split + whole))
        experts.append(np.asarray(parts["experts"] / (c.ep * c.expert_tp)))
    ends = embedding_parameters(model)
    tied_head = ends["embedding"] if model.tied and model.head == "tokens" else ends["head"]
    # a tied table is stored once, but twice when first and last stage differ
    head = np.where((c.pp > 1) | (not model.tied), tied_head, 0.0) / c.tp + ends["norm"]
    further = _further(model, c, dense[-1], experts[-1])
    return Weights(model, dense, experts, ends["embedding"] / c.tp, np.asarray(head), further)


def _further(model: Model, c: Columns, dense: Column, experts: Column) -> tuple[Column, Column]:
    """(dense, expert) parameters of a rank's multi-token-prediction modules, each with a layer of so many: see `mtp_parameters`.
    Where the head lies on another stage than the embedding, a copy of the latter comes with them, unless both are one table."""
    if not (c.training and model.mtp_layers):
        return np.zeros(c.n), np.zeros(c.n)
    apart = (c.pp > 1) & ~c.folded & (c.schedule != SCHEDULES["dualpipe"]) & (not model.tied)
    copy = np.where(apart, embedding_parameters(model)["embedding"] / c.tp, 0.0)
    around = 2.0 * model.hidden**2 / c.tp + 3.0 * model.hidden
    return model.mtp_layers * (dense + around) + copy, model.mtp_layers * experts
