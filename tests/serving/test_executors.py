"""SimPy and schedulers in Python define the answer; leaping and the compiled core give the same bits."""

import numpy as np
import pytest

from sim.serving import state
from sim.serving.fleet import Fleet
from sim.serving.run import simulate
from sim.serving.schedulers import Continuous, PrefillFirst, Static

from .parts import bits, packed, random_requests


class SlowContinuous(Continuous):
    """A class of its own takes the path through Python."""


class SlowPrefillFirst(PrefillFirst):
    pass


class SlowStatic(Static):
    pass


PAIRS = (("continuous", SlowContinuous), ("prefill_first", SlowPrefillFirst), ("static", SlowStatic))
# roomy, scarce blocks (evictions), few slots, small budget (cut prompts), attention-DP, pipeline, buckets, both with host time
SETTINGS = (
    {},
    {"kv_blocks": 60, "watermark": 0.05},
    {"kv_blocks": 110, "max_num_seqs": 7, "kv_block": 8},
    {"max_num_seqs": 3, "max_batched_tokens": 64},
    {"max_batched_tokens": 256, "kv_blocks": 70, "attention_dp": 4},
    {"pp": 3, "max_batched_tokens": 512, "power_of_two": True},
    {"buckets": (1, 2, 4, 8, 16, 32), "sequence_host_s": 1e-4, "step_host_s": 1e-3},
    {"attention_dp": 3, "pp": 2, "sequence_host_s": 1e-4, "request_host_s": 0.03},
)


def dotted(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


@pytest.mark.parametrize(("name", "slow"), PAIRS)
@pytest.mark.parametrize("setting", range(len(SETTINGS)))
def test_the_compiled_core_is_the_scheduler_in_python_to_the_last_bit(name, slow, setting):
    evicted = 0
    for number in range(6):
        requests = random_requests(number, concurrency=(None, 5)[number % 3 == 2])
        limits = {"longest": 1024, **SETTINGS[setting]}
        fast = simulate(packed(scheduler=name, **limits), requests)
        for leap in (True, False):
            by_class = simulate(packed(scheduler=dotted(slow), **limits), requests, leap=leap)
            assert bits(by_class) == bits(fast)
        evicted += int(fast.preemptions.sum())
    if setting == 1 and name != "static":
        assert evicted > 0


@pytest.mark.parametrize("name", [name for name, _ in PAIRS])
@pytest.mark.parametrize("setting", range(len(SETTINGS)))
def test_leaping_and_stepping_end_at_the_same_bits(name, setting):
    for number in range(12):
        requests = random_requests(number, concurrency=(None, 5)[number % 3 == 2])
        pack = packed(scheduler=name, **{"longest": 1024, **SETTINGS[setting]})
        fleet = Fleet(1 + number % 3, ("round_robin", "least_loaded")[number % 2])
        assert bits(simulate(pack, requests, fleet)) == bits(simulate(pack, requests, fleet, leap=False))


class Everything:
    def __init__(self):
        self.seen = []

    def iteration(self, replica, start_s, end_s, decodes, prompt_tokens):
        self.seen.append((replica, start_s, end_s, decodes, prompt_tokens))

    def arrived(self, request, replica, now):
        pass

    def finished(self, request, replica, now):
        pass


def test_watching_changes_nothing_and_sees_every_iteration():
    pack, requests = packed(kv_blocks=80), random_requests(3)
    watcher = Everything()
    watched = simulate(pack, requests, watch=[watcher])
    assert bits(watched) == bits(simulate(pack, requests))
    assert len(watcher.seen) == watched.counters[0, state.ITERATIONS]
    spans = np.array([(start, end) for _, start, end, _, _ in watcher.seen])
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
