"""KV outside the device: preempted sequences in host memory, prefix blocks in host memory and on SSD."""

from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Engine, Plan
from sim.catalog.targets import target
from sim.catalog.traffic import Requests, read_trace
from sim.errors import InputError
from sim.serving import state
from sim.serving.fleet import Fleet, Pool, Run
from sim.serving.pack import pack
from sim.serving.prefix_cache import PrefixCache
from sim.serving.run import simulate

from .parts import Constant, bits, packed, random_requests
from .test_executors import PAIRS, SETTINGS, dotted
from .test_pack import roofline

SAMPLES = Path(__file__).parents[1] / "catalog" / "samples" / "traces"
SCARCE = {"kv_blocks": 60, "watermark": 0.0, "longest": 1024}


@pytest.mark.parametrize(("name", "slow"), PAIRS[:2])
@pytest.mark.parametrize("host_blocks", [10, 45, 10_000])
@pytest.mark.parametrize("setting", [1, 3, 6])
def test_the_compiled_core_swaps_as_the_stepper_does_to_the_last_bit(name, slow, host_blocks, setting):
    limits = {**SETTINGS[setting], **SCARCE, "host_blocks": host_blocks, "swap_token_s": 3e-6}
    for number in range(4):
        requests = random_requests(number, concurrency=(None, 9)[number % 2])
        fast = simulate(packed(scheduler=name, **limits), requests)
        assert bits(simulate(packed(scheduler=name, **limits), requests, leap=False)) == bits(fast)
        for leap in (True, False):
            by_class = simulate(packed(scheduler=dotted(slow), **limits), requests, leap=leap)
            assert bits(by_class) == bits(fast)
            assert by_class.counters[0, state.SWAPS] == fast.counters[0, state.SWAPS]


@pytest.mark.parametrize("scheduler", ["continuous", "prefill_first"])
def test_with_room_in_host_memory_no_prompt_is_computed_twice(scheduler):
    requests = random_requests(8)
    run = Run(
        [Pool(packed(scheduler=scheduler, host_blocks=10_000, swap_token_s=1e-6, **SCARCE))], requests, Fleet(), 0
    )
    run.go()
    count = run.replicas[0].executor.core.counts
    assert count[state.SWAPS] == count[state.PREEMPTIONS] > 0
    assert count[state.HOST_FREE] == 10_000 and count[state.FREE] == SCARCE["kv_blocks"]
    resumed = count[state.PREFILLED] - requests.input_tokens.sum()
    assert 0 <= resumed <= count[state.SWAPS]  # a sequence that comes back computes one token in a pass with prompts
    assert (run.columns.tokens[:, state.MADE] == requests.output_tokens).all()
    assert (run.columns.tokens[:, state.PARKED] == 0).all()


def test_what_is_swapped_goes_over_the_host_link_twice():
    """Two sequences of 32 tokens in 5 blocks of 16: at the first token beyond, the second has to go."""
    requests = Requests("two", np.zeros(2), np.full(2, 32, np.int32), np.full(2, 10, np.int32))
    limits = {"kv_blocks": 5, "watermark": 0.0, "longest": 64, "swap_token_s": 0.01}
    served = simulate(packed(Constant(1.0), host_blocks=100, **limits), requests)
    assert served.preemptions.tolist() == [0, 1]
    assert served.clocks[0, state.SUM_LOAD_S] == pytest.approx(2 * 32 * 0.01)
    assert served.busy_s["kv_traffic", "prefill"] == pytest.approx(0.64)
    assert sum(served.busy_s.values()) == pytest.approx(served.clocks[0, state.BUSY_S])
    again = simulate(packed(Constant(1.0), **limits), requests)
    assert ("kv_traffic", "prefill") not in again.busy_s
    assert served.finish_s.max() == pytest.approx(again.finish_s.max() + 0.64)


def test_blocks_that_the_device_lets_go_come_back_from_the_tier_where_they_lie():
    cache = PrefixCache(10, [(20.0, 1.0), (30.0, 5.0)])
    assert cache.reuse([1, 2, 3, 4, 5, 6], 60, 10) == 0
    # device 1; host 2 and 3; SSD 4, 5, 6
    assert cache.found([1, 2, 3, 4, 5, 6]) == 6
    assert cache.reuse([1, 2, 3, 4, 5, 6], 60, 60) == 59
    assert cache.loaded_s == 2 * 10 * 1.0 + 3 * 10 * 5.0
    assert cache.reuse([1, 2, 3, 4, 5, 6], 60, 0) == 59
    assert cache.loaded_s == 0.0
    assert cache.found([1, 2, 3, 4, 5, 6]) == 5  # host and SSD hold five


def replayed(prompts, room):
    """Hits of an exact LRU cache, by the distance of each reuse: blocks touched since, in order of last use."""
    order, hits = [], 0
    for blocks in prompts:
        held = set(order[:room])
        for block in blocks:
            if block not in held:
                break
            hits += 1
        for block in reversed(blocks):
            if block in order:
                order.remove(block)
            order.insert(0, block)
    return hits


def prompts_of(trace):
    return [trace.blocks[a:b].tolist() for a, b in zip(trace.block_starts, trace.block_starts[1:], strict=False)]


def tree(number):
    """Prompts that walk down a tree of prefixes, often the same way."""
    stream = np.random.default_rng(number)
    return [[sum(path[: depth + 1]) * 64 + depth for depth in range(len(path))]
            for path in (stream.zipf(1.6, stream.integers(1, 9)).clip(max=5).tolist() for _ in range(400))]  # fmt: skip


@pytest.mark.parametrize("room", [0, 3, 20, 1000])
def test_hits_are_those_of_an_exact_least_recently_used_replay(room):
    for prompts in (prompts_of(read_trace(SAMPLES / "mooncake_golden.jsonl")), tree(1), tree(2)):
        for tiers in ((), ((7 * 16.0, 1.0),)):
            cache = PrefixCache(16, tiers)
            hits = 0
            for blocks in prompts:
                hits += cache.found(blocks)
                cache.reuse(blocks, 16 * len(blocks), room * 16)
            assert hits == replayed(prompts, room + 7 * len(tiers))


def test_a_hit_outside_the_device_costs_its_transfer_and_leaping_agrees():
    """Two prompts of four blocks of 64 tokens in turn, and room for six: each finds some of its own in host memory."""
    ids = [[first + i for i in range(4)] for first in (0, 100) * 4]
    requests = Requests(
        "in turn", np.arange(8) * 60.0, np.full(8, 257, np.int32), np.full(8, 5, np.int32),
        blocks=np.concatenate(ids), block_starts=np.arange(9) * 4, block_tokens=64,
    )  # fmt: skip
    served, free = (
        simulate(packed(prefix_cache=True, kv_blocks=25, prefix_tiers=((10_000.0, token_s),)), requests)
        for token_s in (1e-4, 0.0)
    )
    assert served.cached_tokens.tolist() == [0, 0] + 6 * [256]
    loaded_s = served.clocks[0, state.SUM_LOAD_S]
    assert loaded_s >= 6 * 2 * 64 * 1e-4
    assert (served.first_token_s - free.first_token_s).sum() == pytest.approx(loaded_s)
    tiers = ((10_000.0, 1e-4),)
    stepped = simulate(packed(prefix_cache=True, kv_blocks=25, prefix_tiers=tiers), requests, leap=False)
    assert bits(stepped) == bits(served)


def test_settings_become_blocks_and_rates_of_the_host_link():
    library = default_library()
    on = target(library, "h100-sxm", None, "serve")
    engine = Engine(swap_bytes=64e9, host_kv_bytes=128e9, ssd_kv_bytes=1e12, ssd_bytes_per_s=3e9)
    limits = pack(library.model("llama-3.1-8b"), Plan(), on, engine, roofline, 4096).limits
    assert limits.host_blocks == pytest.approx(64e9 / (131072 * 16), rel=1e-3)
    assert limits.swap_token_s == pytest.approx(131072 / on.chip.host.bandwidth_bytes_per_s)
    assert limits.prefix_tiers[0] == (pytest.approx(128e9 / 131072), limits.swap_token_s)
    assert limits.prefix_tiers[1] == (pytest.approx(1e12 / 131072), pytest.approx(131072 / 3e9))
    with pytest.raises(InputError, match="go together"):
        pack(library.model("llama-3.1-8b"), Plan(), on, Engine(ssd_kv_bytes=1e12), roofline, 4096)
