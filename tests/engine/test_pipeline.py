"""One forward one backward: against the closed form, against SimPy, and built in one call as in a table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine import one_f_one_b, one_f_one_b_many, one_f_one_b_schedule, run
from sim.errors import InputError

SHAPES = [(1, 4, 1), (4, 8, 1), (4, 2, 1), (8, 64, 1), (4, 8, 2), (2, 4, 3), (8, 64, 4), (5, 5, 2), (16, 256, 1)]


@pytest.mark.parametrize(("p", "m", "v"), SHAPES)
def test_equal_stages_idle_for_p_minus_1_over_m_v_of_the_work(p, m, v):
    """Narayanan et al. (2021), section 2.2: bubble over ideal time = (p - 1) / (m v)."""
    forward_s, backward_s = np.full((p, v), 1.0 / v), np.full((p, v), 2.0 / v)
    makespan_s = one_f_one_b(p, m, v, forward_s, backward_s, 0.0).makespan_s
    assert makespan_s / (3.0 * m) - 1.0 == pytest.approx((p - 1) / (m * v), abs=1e-12)


@pytest.mark.parametrize(("p", "m"), [(2, 1), (4, 1), (8, 1)])
def test_one_micro_batch_passes_every_stage_and_send_twice(p, m):
    assert one_f_one_b(p, m, 1, np.ones((p, 1)), 2 * np.ones((p, 1)), 0.25).makespan_s == 3 * p + 2 * 0.25 * (p - 1)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32))
def test_built_in_one_call_and_swept_as_a_table_agree_to_the_last_bit(p, m, v, seed):
    v = v if p > 1 else 1
    m = m * p if v > 1 else m
    stream = np.random.default_rng(seed)
    forward_s, backward_s = stream.exponential(size=(2, p, v))
    send_s = stream.exponential(size=p) * stream.choice([0.0, 0.1, 2.0])
    pipeline = one_f_one_b(p, m, v, forward_s, backward_s, send_s)
    timeline = run(one_f_one_b_schedule(p, m, v, forward_s, backward_s, send_s))
    assert pipeline.makespan_s == timeline.makespan_s
    assert pipeline.busy_s == pytest.approx([timeline.busy_s(stage) for stage in range(p)])


@pytest.mark.parametrize(("p", "m", "v"), [(12, 300, 1), (6, 120, 4), (3, 300, 7)])
def test_long_pipelines_agree_too(p, m, v):
    stream = np.random.default_rng(p)
    arguments = (p, m, v, stream.random((p, v)), stream.random((p, v)), stream.random(p))
    whole_s = run(one_f_one_b_schedule(*arguments)).makespan_s
    assert one_f_one_b(*arguments).makespan_s == pytest.approx(whole_s, rel=1e-12)


def test_a_batch_of_pipelines_is_each_of_them():
    stream = np.random.default_rng(3)
    shapes = [SHAPES[i] for i in stream.integers(0, len(SHAPES), 40)]
    forward_s, backward_s = ([stream.random((p, v)) for p, _, v in shapes] for _ in range(2))
    send_s = stream.random(len(shapes))
    flat = (np.concatenate([x.ravel() for x in column]) for column in (forward_s, backward_s))
    many = one_f_one_b_many(*np.array(shapes).T, *flat, send_s)
    each = zip(shapes, forward_s, backward_s, send_s, strict=True)
    assert many.tolist() == [one_f_one_b(*shape, f, b, s).makespan_s for shape, f, b, s in each]


def test_a_pipeline_takes_at_least_its_slowest_stage_and_its_longest_path():
    stream = np.random.default_rng(5)
    forward_s, backward_s = stream.random((2, 6, 1))
    pipeline = one_f_one_b(6, 24, 1, forward_s, backward_s, 0.1)
    fill_s = forward_s.sum() + backward_s.sum() + 2 * 5 * 0.1
    assert pipeline.makespan_s >= max(pipeline.busy_s.max(), fill_s)


def test_the_send_around_the_end_costs_only_interleaved_pipelines():
    send_s = [0.0, 0.0, 0.0, 5.0]
    plain = [one_f_one_b(4, 8, 1, np.ones((4, 1)), np.ones((4, 1)), s).makespan_s for s in (0.0, send_s)]
    woven = [one_f_one_b(4, 8, 2, np.ones((4, 2)), np.ones((4, 2)), s).makespan_s for s in (0.0, send_s)]
    assert plain[0] == plain[1]
    assert woven[0] < woven[1]


@pytest.mark.parametrize(
    ("p", "m", "v", "says"),
    [(0, 1, 1, "at least 1"), (1, 4, 2, "at least 2 stages"), (4, 6, 2, "multiple of p"), (2, 0, 1, "at least 1")],
)
def test_illegal_pipelines_are_refused(p, m, v, says):
    with pytest.raises(InputError, match=says):
        one_f_one_b_many([2, p], [4, m], [1, v], np.ones(2 + p * v), np.ones(2 + p * v), [0.0, 0.0])
    with pytest.raises(InputError, match=says):
        one_f_one_b_schedule(p, m, v, np.ones((p, v)), np.ones((p, v)), 0.0)


def test_a_missing_or_senseless_stage_time_is_refused():
    with pytest.raises(InputError, match="backward_s has 1 entries"):
        one_f_one_b_many([2], [4], [1], [1.0, 1.0], [1.0], [0.0])
    with pytest.raises(InputError, match="forward_s has an entry"):
        one_f_one_b(2, 4, 1, [[1.0], [-1.0]], np.ones((2, 1)), 0.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_a_long_pipeline_that_is_swept_until_it_repeats_itself_ends_when_the_whole_sweep_does(seed):
    """Stages equal, one slow, or all different; sends free, cheap or slower than the work."""
    stream = np.random.default_rng(seed)
    p, v = int(stream.choice([1, 2, 3, 4, 8])), int(stream.choice([1, 1, 2, 3]))
    v = v if p > 1 else 1
    m = int(stream.integers(5 * p, 20 * p)) * (p if v > 1 else 1)
    m = min(m, 40 * p) // p * p if v > 1 else m
    forward_s, backward_s = np.ones((2, p, v)) * [[[1.0]], [[2.0]]]
    uneven = stream.choice([0.0, 0.05, 1.0])
    forward_s, backward_s = (x * (1.0 + uneven * stream.integers(0, 3, (p, v))) for x in (forward_s, backward_s))
    send_s = np.full(p, stream.choice([0.0, 0.01, 0.1, 3.0]))
    arguments = (p, m, v, forward_s, backward_s, send_s)
    whole_s = run(one_f_one_b_schedule(*arguments)).makespan_s
    assert one_f_one_b(*arguments).makespan_s == pytest.approx(whole_s, rel=1e-11)
