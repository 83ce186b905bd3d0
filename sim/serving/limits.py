"""What one replica may do and what its software costs; every setting resolved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Settings of one replica, all resolved. kv_blocks None: nothing is cached. padding: none, buckets or power_of_two.

    one_shot: a request is one prompt pass without decode. longest: tokens of the longest request that tables must hold. drafts:
    tokens that a decode step drafts for each sequence; tokens_a_step: what it makes of each on average, the drafts that hold
    and one more. cp: ranks that a prompt is spread over. host_blocks: of KV that host memory keeps of preempted sequences (0: it is
    computed again), swap_token_s: to move a token's there or back. prefix_tiers: where prefix blocks go that the device lets go:
    tokens that fit, seconds to bring one back.
    """

    max_num_seqs: int = 256
    max_batched_tokens: int = 8192
    scheduler: str = "continuous"
    kv_block: int = 16
    kv_blocks: int | None = None
    watermark: float = 0.01
    prefix_cache: bool = False
    max_model_len: int = 2**31
    longest: int = 32768
    one_shot: bool = False
    attention_dp: int = 1
    pp: int = 1
    cp: int = 1
    drafts: int = 0
    host_blocks: int = 0
    swap_token_s: float = 0.0
    prefix_tiers: tuple[tuple[float, float], ...] = ()
    tokens_a_step: float = 1.0
    chips: int = 1
    buckets: tuple[int, ...] = ()
    power_of_two: bool = False
    eager_launch_s: float = 0.0
    step_host_s: float = 0.0
    sequence_host_s: float = 0.0
    prompt_host_s: float = 0.0
    prompt_gaps: float = 0.0
    request_host_s: float = 0.0
    ahead_steps: float = 0.0
