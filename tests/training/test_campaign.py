"""Campaigns: closed forms, conservation, what each kind of failure costs, and what chance may not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.campaigns import Campaign
from sim.catalog.library import default_library
from sim.errors import Infeasible, InputError
from sim.training.campaign import run
from sim.training.campaign_figures import campaigns, mean_w, power_over_time
from sim.training.campaign_pace import Pace, leap, seconds_for
from sim.training.campaign_rates import Source, domain_chips, interruptions_per_s, sources, young_s
from sim.training.campaign_setup import Setup

DAY_S = 86400.0


def setup(*struck, total_s=10 * DAY_S, interval_s=1000.0, pause_s=10.0, restart_s=300.0, **more):
    options = more.pop("options", Campaign())
    return Setup(total_s, struck, interval_s, pause_s, pause_s, pause_s, restart_s, options, **more)


def crash(mean_s, nodes=0, kind="software", name="crash"):
    return Source(name, kind, mean_s, nodes)


def total(outcome):
    return outcome.productive_s + math.fsum(outcome.lost_s.values())


def test_without_failures_a_campaign_takes_its_work_and_the_stops_for_checkpoints():
    assert run(setup(pause_s=0.0)).seconds == pytest.approx(10 * DAY_S, rel=1e-12)
    assert run(setup()).seconds == pytest.approx(10 * DAY_S + 863 * 10.0, rel=1e-12)  # none at the very end


def test_with_failures_the_mean_is_dalys_closed_form():
    mean_s, interval_s, pause_s, restart_s = 5000.0, 1000.0, 50.0, 400.0
    made = setup(crash(mean_s), interval_s=interval_s, pause_s=pause_s, restart_s=restart_s, total_s=500 * DAY_S)
    # failures strike running software alone: a segment takes (mean + restart) (e^(segment / mean) - 1)
    segment_s = (mean_s + restart_s) * math.expm1((interval_s + pause_s) / mean_s)
    assert run(made).seconds == pytest.approx(made.total_s / interval_s * segment_s, rel=0.02)


def test_youngs_interval_is_the_optimum_of_a_sweep():
    mean_s, pause_s = 40_000.0, 20.0
    best_s = young_s(pause_s, mean_s)
    factors = np.array([0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5])
    lost = []
    for factor in factors:
        made = setup(crash(mean_s), interval_s=best_s * factor, pause_s=pause_s, restart_s=0.0, total_s=900 * DAY_S)
        lost.append(1.0 - run(made, seed=3).productive_share)
    # loss = a / interval + b interval
    a, b = np.linalg.lstsq(np.stack([1.0 / factors, factors], axis=1), np.array(lost), rcond=None)[0]
    assert math.sqrt(a / b) == pytest.approx(1.0, abs=0.05)
    assert lost[3] <= 1.05 * min(lost)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.booleans(),
    st.sampled_from([None, 0, 2]),
    st.floats(500.0, 20_000.0),
    st.sampled_from([None, 20_000.0]),
)
def test_time_is_work_that_was_kept_and_losses_that_have_a_cause(seed, elastic, spares, interval_s, every_s):
    options = Campaign(
        elastic=elastic,
        spares=spares,
        evaluation_every_s=every_s,
        evaluation_s=30.0,
        repair_s=20_000.0,
        slow_factor=1.3,
    )
    struck = [crash(90_000.0, 1, kind, kind) for kind in ("node", "hang", "silent", "slow", "preempt")]
    outcome = run(setup(*struck, interval_s=interval_s, total_s=4 * DAY_S, options=options, replicas=8), seed)
    assert total(outcome) == pytest.approx(outcome.seconds, rel=1e-9)
    assert outcome.productive_s == pytest.approx(4 * DAY_S, rel=1e-12)
    assert all(lost >= -1e-6 for lost in outcome.lost_s.values())
    assert outcome.busy_s <= outcome.seconds * (1 + 1e-12)


@settings(max_examples=80, deadline=None)
@given(st.floats(0.3, 1.0), st.floats(10.0, 100.0), st.floats(0.1, 20.0), st.floats(0.0, 0.9), st.floats(0.0, 2000.0))
def test_a_leap_is_what_stepping_from_checkpoint_to_checkpoint_gives(rate, interval_s, pause_s, share, elapsed_s):
    pace, since = Pace(rate, interval_s, pause_s, pause_s), share * interval_s
    work, paused, left_s, safe = 0.0, 0.0, elapsed_s, None
    due = interval_s - since
    while True:
        step_s = due / rate
        if left_s <= step_s:
            work += left_s * rate
            break
        work, left_s, due = work + due, left_s - step_s, interval_s
        stop_s = min(left_s, pause_s)
        paused, left_s = paused + stop_s, left_s - stop_s
        if stop_s < pause_s:
            break
        safe = work
    found = leap(pace, since, elapsed_s)
    assert (found.work, found.paused_s) == pytest.approx((work, paused), rel=1e-9, abs=1e-6)
    assert (found.safe is None) == (safe is None) or abs(left_s) < 1e-6
    if safe is not None and found.safe is not None:
        assert found.safe == pytest.approx(safe) or abs(left_s) < 1e-6


@given(st.floats(0.3, 1.0), st.floats(10.0, 100.0), st.floats(0.0, 20.0), st.floats(0.0, 0.9), st.floats(0.001, 2000.0))
def test_the_time_that_work_takes_does_that_work(rate, interval_s, pause_s, share, work):
    pace = Pace(rate, interval_s, pause_s, pause_s)
    needed_s = seconds_for(pace, share * interval_s, work)
    assert leap(pace, share * interval_s, needed_s).work == pytest.approx(work, rel=1e-9)


def test_a_hang_lasts_until_the_watchdog_finds_it():
    quick, slow = (
        run(setup(crash(30_000.0, 0, "hang"), options=Campaign(watchdog_s=limit)), 1).lost_s["crash restart"]
        for limit in (0.0, 600.0)
    )
    assert slow > 2.5 * quick


def test_silent_corruption_is_rolled_back_past_the_delay_of_its_detection():
    made = setup(crash(200_000.0, 0, "silent"), total_s=100 * DAY_S, options=Campaign(silent_delay_s=7200.0))
    outcome = run(made)
    lost = outcome.lost_s["crash rollback"] / outcome.interrupted
    assert 7200.0 * 0.95 < lost < 7200.0 + 1100.0  # the delay and what was not yet saved when it struck


def test_a_warned_preemption_loses_no_work_but_waits_for_its_node():
    for notice_s, kept in ((120.0, True), (1.0, False)):
        options = Campaign(preempt_mtbf_s=1.0, preempt_notice_s=notice_s, preempt_back_s=3600.0)
        outcome = run(setup(crash(40_000.0, 1, "preempt"), options=options))
        assert (outcome.lost_s["crash rollback"] == 0.0) == kept
        assert outcome.lost_s["waiting for nodes"] > 1000.0 * outcome.interrupted


def test_spares_are_used_before_the_job_waits_and_an_elastic_job_does_not_wait():
    def waited(**options):
        return run(setup(crash(40_000.0, 1, "node"), options=Campaign(**options), replicas=16), 2)

    assert "waiting for nodes" not in waited(spares=50).lost_s
    strict, elastic = waited(spares=1), waited(spares=1, elastic=True)
    assert strict.lost_s["waiting for nodes"] > 0.0
    assert "waiting for nodes" not in elastic.lost_s and elastic.lost_s["missing nodes"] > 0.0
    assert elastic.seconds < strict.seconds


def test_a_slow_chip_slows_all_until_it_is_swapped():
    options = Campaign(slow_factor=1.5, slow_delay_s=3600.0)
    outcome = run(setup(crash(1e6, 1, "slow"), total_s=300 * DAY_S, options=options), 4)
    assert outcome.interrupted == 0
    swaps = outcome.lost_s["crash restart"] / 300.0
    assert outcome.lost_s["slow chips"] == pytest.approx(swaps * 3600.0 / 3.0, rel=0.1)


def test_evaluations_stop_the_training_for_as_long_as_they_take():
    options = Campaign(evaluation_every_s=50_000.0, evaluation_s=100.0)
    assert run(setup(pause_s=0.0, options=options)).seconds == pytest.approx(10 * DAY_S + 17 * 100.0)


def test_a_new_source_changes_no_other():
    first = crash(30_000.0)
    alone = run(setup(first), 5)
    assert run(setup(first, crash(1e15, name="never")), 5)._replace(states=()) == alone._replace(states=())


def test_the_same_seed_gives_the_same_campaign_and_another_gives_another():
    made = setup(crash(30_000.0))
    assert run(made, 1) == run(made, 1)
    assert run(made, 1) != run(made, 2)


def test_percentiles_hardly_move_with_the_seed():
    made = setup(crash(20_000.0), total_s=60 * DAY_S, options=Campaign(seeds=40))
    first, second = (np.percentile([each.seconds for each in campaigns(made, seed)], (10, 50, 90)) for seed in (0, 1))
    assert first == pytest.approx(second, rel=0.005)


def test_failures_faster_than_recovery_are_infeasible():
    with pytest.raises(Infeasible, match=r"not done after 50 times"):
        run(setup(crash(100.0), total_s=DAY_S))


def test_power_over_time_adds_up_to_the_energy_of_the_mean():
    outcome = run(setup(crash(20_000.0)), 1)
    table = power_over_time(outcome, 700.0, 100.0)
    assert table["energy_j"][-1] == pytest.approx(mean_w(outcome, 700.0, 100.0) * outcome.seconds)
    assert set(table["power_w"]) == {700.0, 100.0}


def test_rates_are_the_clusters_by_component_or_what_is_given():
    cluster = default_library().cluster("grand-teton-24k")
    found = sources(Campaign(), cluster, 16384)
    assert 1.0 / interruptions_per_s(found) == pytest.approx(54 * DAY_S / 419, rel=0.01)
    assert {each.kind for each in found} == {"node", "software", "hang", "silent"}
    given_ = sources(Campaign(mtbf_s=7200.0), cluster, 16384)
    assert [(each.name, each.mean_s) for each in given_] == [("job", 7200.0)]
    more = sources(Campaign(domain_mtbf_s=1e8, slow_mtbf_s=1e9, preempt_mtbf_s=1e7), cluster, 16384)
    assert {"domain", "slow", "preemption"} <= {each.name for each in more}
    assert domain_chips(cluster) == 3072
    with pytest.raises(InputError, match=r"--mtbf"):
        sources(Campaign(), default_library().cluster("tpu-v5p"), 64)


def test_people_stop_a_job_for_more_than_failed_machines():
    cluster = default_library().cluster("meta-rsc-1")
    auto, manual = (interruptions_per_s(sources(Campaign(restart=who), cluster, 1024)) for who in ("auto", "manual"))
    assert 1 / manual / 3600 == pytest.approx(7.9, rel=0.01)
    assert 1 / auto / 3600 == pytest.approx(28.8, rel=0.01)


def test_the_window_of_llama_3_meets_its_interruptions_and_stays_over_nine_tenths_productive():
    cluster = default_library().cluster("grand-teton-24k")
    made = setup(
        *sources(Campaign(), cluster, 16384), total_s=0.93 * 54 * DAY_S, interval_s=60.0, pause_s=0.02, restart_s=662.0
    )
    outcome = run(made)
    assert outcome.interrupted == pytest.approx(419, rel=0.15)  # Poisson: 5%
    assert outcome.productive_share > 0.90


def test_a_run_of_ages_is_refused_rather_than_drawn_for_minutes():
    with pytest.raises(Infeasible, match=r"more than 200,000"):
        run(setup(crash(1000.0), total_s=1e9))
