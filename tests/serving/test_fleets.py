"""Fleets of several pools that fail, grow and shrink: nothing is lost, and every way to run them ends at the same bits."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.serving import state
from sim.serving.fleet import Run
from sim.serving.pools import Fleet, Pool, Scaling
from sim.serving.run import simulate_pools
from sim.serving.schedulers import Continuous

from .parts import bits, packed, random_requests


class Slow(Continuous):
    """A class of its own takes the path through Python."""


SLOW = f"{__name__}.Slow"
ROUTERS = ("round_robin", "least_loaded", "power_of_two", "prefix_aware", "session")
PACKS = {}


def pack_of(scheduler="continuous", kv_blocks=120, seqs=12):
    """Filled tables are shared over examples."""
    key = (scheduler, kv_blocks, seqs)
    if key not in PACKS:
        PACKS[key] = packed(
            scheduler=scheduler, kv_blocks=kv_blocks, max_num_seqs=seqs, longest=1024, request_host_s=0.01
        )
    return PACKS[key]


FLEETS = st.fixed_dictionaries(
    {
        "number": st.integers(0, 1000),
        "split": st.booleans(),
        "mtbf_s": st.sampled_from([math.inf, 2.0, 8.0]),
        "scaled": st.sampled_from([None, "in_flight", "utilisation", "schedule"]),
        "router": st.sampled_from(ROUTERS),
        "max_queue": st.sampled_from([None, 3]),
        "max_wait_s": st.sampled_from([None, 1.0]),
        "window_s": st.sampled_from([None, 0.7]),
        "kv_blocks": st.sampled_from([60, 120, 4000]),
        "seed": st.integers(0, 5),
    }
)


def scaling(rule):
    if rule is None:
        return None
    target = {"in_flight": 4.0, "utilisation": 0.6, "schedule": 1.0}[rule]
    return Scaling(1, 3, rule, target, steps=((0.0, 1), (2.0, 3), (6.0, 2)), every_s=0.5, cooldown_s=1.0)


def pools_of(fleet, scheduler="continuous"):
    pack, other = pack_of(scheduler, fleet["kv_blocks"]), pack_of(scheduler, 200, 5)
    common = {"mtbf_s": fleet["mtbf_s"], "repair_s": 0.5, "start_s": 0.25, "scaling": scaling(fleet["scaled"])}
    if not fleet["split"]:
        return [Pool(pack, 2, **common), Pool(other, 1)]
    port = {"token_bytes": 1e3, "port_bytes_per_s": 2e6, "port_s": 1e-3}
    return [Pool(pack, 2, role="prefill", **common, **port), Pool(other, 2, role="decode", **common, **port)]


def rules(fleet):
    return Fleet(1, fleet["router"], fleet["max_queue"], fleet["max_wait_s"], fleet["window_s"])


def served(fleet, scheduler="continuous", **options):
    requests = random_requests(fleet["number"], 40, concurrency=(None, None, 7)[fleet["number"] % 3])
    return simulate_pools(pools_of(fleet, scheduler), requests, rules(fleet), seed=fleet["seed"], **options)


class Everything:
    def __init__(self):
        self.done = []

    def arrived(self, request, replica, now):
        pass

    def finished(self, request, replica, now):
        self.done.append(request)


def same(one, other):
    assert bits(one) == bits(other)
    assert one.paid_s.tobytes() == other.paid_s.tobytes()
    assert one.retries.tolist() == other.retries.tolist()
    assert (
        one.counters[:, [state.PREFILLED, state.DECODED]].tolist()
        == other.counters[:, [state.PREFILLED, state.DECODED]].tolist()
    )
    for name in one.series:
        assert one.series[name].tobytes() == other.series[name].tobytes(), name


@settings(max_examples=20, deadline=None)
@given(fleet=FLEETS)
def test_leaping_stepping_watching_and_python_end_at_the_same_bits(fleet):
    whole, watcher = served(fleet), Everything()
    same(whole, served(fleet, leap=False))
    same(whole, served(fleet, watch=[watcher]))
    assert sorted(watcher.done) == np.flatnonzero(whole.finished).tolist()
    if fleet["number"] % 4 == 0:
        same(whole, served(fleet, SLOW))


@settings(max_examples=20, deadline=None)
@given(fleet=FLEETS)
def test_every_request_ends_once_no_token_is_lost_or_made_twice_and_no_block_is_kept(fleet):
    requests = random_requests(fleet["number"], n=50)
    run = Run(pools_of(fleet), requests, rules(fleet), fleet["seed"])
    run.go()
    times_s, tokens = run.columns
    status = tokens[:, state.STATUS]
    allowed = (
        {state.FINISHED, state.SHED, state.EXPIRED} if fleet["max_queue"] or fleet["max_wait_s"] else {state.FINISHED}
    )
    assert set(status.tolist()) <= allowed
    done = status == state.FINISHED
    assert (tokens[done, state.MADE] == requests.output_tokens[done]).all()
    assert (tokens[~done, state.MADE] == 0).all()
    order = times_s[done][:, [state.ARRIVAL, state.ADMITTED, state.FIRST, state.FINISH]]
    assert (np.diff(order, axis=1) >= 0).all()
    cores = [replica.executor.core for replica in run.replicas]
    gaps = sum(core.gaps.sum() for core in cores)
    assert gaps + done.sum() == requests.output_tokens[done].sum()  # a first token, then one for each gap
    for replica, core in zip(run.replicas, cores, strict=True):
        blocks = run.pools[replica.pool].pack.tables.whole[state.BLOCKS]
        assert core.counts[state.FREE] == blocks and core.growth.sum() == 0 and not replica.held
        assert core.counts[state.PEAK_BLOCKS] <= blocks
        assert core.counts[state.N_RUNNING] == core.counts[state.N_WAITING] == core.counts[state.KV_TOKENS] == 0
