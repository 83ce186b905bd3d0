"""Schedules with a split backward pass: closed forms of their papers, memory they promise, the other executor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine import run
from sim.engine.pipeline_blocks import RULES, block_pipeline, block_schedule, chunks_of
from sim.errors import InputError


def times(schedule, p, forward=1.0, backward=1.0, weights=1.0):
    """A whole stage lasts forward + backward + weights; a vee's chunk is half a stage, dual runs half of the micro-batches."""
    chunks = chunks_of(schedule)
    halves = 2.0 if schedule in ("zb-v", "v-half", "v-min") else 1.0
    return np.broadcast_to(np.array([forward, backward, weights])[:, None, None] / halves, (3, p, chunks)).copy()


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 16), (8, 16), (16, 64)])
def test_gpipe_idles_as_long_as_1f1b_and_holds_every_micro_batch(p, m):
    found = block_pipeline("gpipe", m, times("gpipe", p, 1.0, 1.5, 0.5), np.zeros(p))
    assert found.makespan_s == pytest.approx(3.0 * (m + p - 1))
    assert found.held.max() == m


@pytest.mark.parametrize(("p", "m"), [(2, 8), (4, 16), (8, 32), (16, 64)])
def test_zb_h1_idles_for_p_minus_1_of_forward_plus_backward_minus_weights(p, m):
    """Qi et al. (2024), table 1; it holds p micro-batches on every stage, as the first stage of 1F1B does."""
    found = block_pipeline("zb-h1", m, times("zb-h1", p), np.zeros(p))
    assert found.makespan_s - 3.0 * m == pytest.approx((p - 1) * (1.0 + 1.0 - 1.0))
    assert found.held.max() == p


@pytest.mark.parametrize(("schedule", "share"), [("zb-v", 1.0), ("v-half", 0.5), ("v-min", 1.0 / 3.0)])
@pytest.mark.parametrize("p", [4, 6, 8, 12, 16])
def test_a_vee_holds_its_share_of_what_1f1b_holds(schedule, share, p):
    """ "Pipeline Parallelism with Controllable Memory" (2024), table 1: 1, 1/2 and 1/3 of 1F1B's, and O(1) more."""
    found = block_pipeline(schedule, 4 * p, times(schedule, p), np.zeros(p))
    whole_stages = found.held.max() / 2.0
    assert share * p - 1.0 <= whole_stages <= share * p + 2.0


@pytest.mark.parametrize("p", [4, 8, 12, 16])
def test_bubbles_stand_in_the_order_that_the_papers_give(p):
    m = 4 * p
    bubble = {name: block_pipeline(name, m, times(name, p), np.zeros(p)).makespan_s - 3.0 * m for name in RULES}
    assert bubble["zb-v"] < bubble["zb-h1"] < bubble["v-half"] <= bubble["v-min"] < bubble["gpipe"]


@pytest.mark.parametrize("p", [2, 4, 8, 16])
def test_dualpipe_holds_p_plus_1_micro_batches(p):
    """DeepSeek-V3 report, table 2: twice the parameters, p + 1 activations, less than half of ZB-H1's bubble."""
    m = 4 * p
    found = block_pipeline("dualpipe", m, times("dualpipe", p), np.zeros(p))
    assert found.held.max() <= p + 1
    assert found.makespan_s - 3.0 * m <= (p - 1) / 2.0 + 1e-9


@pytest.mark.parametrize("schedule", list(RULES))
@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32))
def test_swept_in_one_call_and_as_a_table_agree_to_the_last_bit(schedule, half, batches, seed):
    p, m = 2 * half, 2 * batches
    stream = np.random.default_rng(seed)
    work_s = stream.exponential(size=(3, p, chunks_of(schedule)))
    send_s = stream.exponential(size=p) * stream.choice([0.0, 0.1, 2.0])
    found = block_pipeline(schedule, m, work_s, send_s)
    timeline = run(block_schedule(schedule, m, work_s, send_s))
    assert found.makespan_s == timeline.makespan_s
    assert found.busy_s == pytest.approx([timeline.busy_s(stage) for stage in range(p)])
    flow = m // 2 if schedule == "dualpipe" else m
    assert found.busy_s == pytest.approx(flow * work_s.sum(axis=(0, 2)))
    assert found.makespan_s >= found.busy_s.max()


def test_dualpipe_refuses_odd_counts():
    with pytest.raises(InputError, match="both must be even"):
        block_pipeline("dualpipe", 3, times("dualpipe", 4), np.zeros(4))
