"""A prefix whose blocks are still held is not computed again."""

import numpy as np

from sim.catalog.traffic import Requests
from sim.serving import state
from sim.serving.fleet import Fleet
from sim.serving.metrics import metrics
from sim.serving.prefix_cache import PrefixCache
from sim.serving.run import simulate

from .parts import bits, packed


def conversation(turns, block_tokens=64, gap_s=30.0):
    """Each turn repeats all before it and adds one block."""
    ids = [list(range(turn + 1)) for turn in range(turns)]
    given = np.array([block_tokens * len(row) for row in ids], np.int32)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    return Requests(
        "conversation",
        np.arange(turns) * gap_s,
        given,
        np.full(turns, 5, np.int32),
        blocks=np.concatenate(ids),
        block_starts=starts,
        block_tokens=block_tokens,
    )


def test_a_turn_computes_only_what_the_turn_before_had_not():
    requests = conversation(10)
    served = simulate(packed(prefix_cache=True), requests)
    assert served.cached_tokens.tolist() == [64 * turn for turn in range(10)]
    assert served.counters[0, state.PREFILLED] == 10 * 64
    assert served.counters[0, state.FREE] == 4000
    without = simulate(packed(), requests)
    assert without.cached_tokens.sum() == 0
    assert metrics(served)["ttft_s_mean"] < metrics(without)["ttft_s_mean"]


def test_the_last_token_of_a_prompt_is_always_computed():
    requests = conversation(3)
    again = Requests(
        "again", np.array([0.0, 9.0]), np.array([64, 64], np.int32), np.array([5, 5], np.int32),
        blocks=np.array([7, 7]), block_starts=np.array([0, 1, 2]), block_tokens=64,
    )  # fmt: skip
    assert simulate(packed(prefix_cache=True), again).cached_tokens.tolist() == [0, 63]
    assert simulate(packed(prefix_cache=True), requests, Fleet(2)).cached_tokens.tolist() == [0, 0, 64]


def test_what_was_used_longest_ago_goes_first_and_the_end_of_a_prefix_before_its_start():
    cache = PrefixCache(16)
    assert cache.reuse([1, 2, 3], 48, 1000) == 0
    assert cache.reuse([9], 16, 3 * 16) == 0  # room for three blocks: 3 goes
    assert len(cache) == 3
    assert cache.reuse([1, 2, 3], 48, 1000) == 32
    assert cache.reuse([1, 2, 3], 48, 0) == 47
    assert len(cache) == 0


def test_leaping_and_stepping_reuse_the_same():
    requests = conversation(40, gap_s=0.05)
    pack = packed(prefix_cache=True, kv_blocks=300)
    one, other = simulate(pack, requests), simulate(pack, requests, leap=False)
    assert bits(one) == bits(other)
    assert one.cached_tokens.tolist() == other.cached_tokens.tolist()
