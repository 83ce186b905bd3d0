"""A scheduler or router of the user's own is a class named by dotted path."""

import sys
import textwrap

import numpy as np
import pytest

from sim.catalog.traffic import Requests
from sim.errors import InputError
from sim.serving.fleet import Fleet
from sim.serving.run import simulate
from sim.serving.schedulers import Batch

from .parts import Constant, packed, random_requests

SHORTEST = '''
    from sim.serving.schedulers import Batch

    class ShortestFirst:
        """Everything decodes; of those that wait, the shortest prompt that fits runs beside them."""

        def __init__(self, limits):
            self.limits = limits

        def decide(self, now, waiting, running, kv):
            decodes = [s for s in running if s.decodes]
            room = self.limits.max_batched_tokens - len(decodes)
            free = len(running) < self.limits.max_num_seqs
            fits = [s for s in waiting if s.left_tokens <= room and kv.blocks_for(s.target_tokens) <= kv.room(0, len(running))]
            shortest = min(fits, key=lambda s: s.left_tokens, default=None) if free else None
            return Batch(decodes, [(shortest, shortest.left_tokens)] if shortest else []), 1
'''


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    """What a new user does: a file beside the scenario."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda text: (tmp_path / "my_module.py").write_text(textwrap.dedent(text))
    sys.modules.pop("my_module", None)


def test_a_scheduler_in_a_file_of_ones_own_serves_the_shortest_prompt_first(my_module):
    my_module(SHORTEST)
    given = np.array([500, 400, 30, 200], np.int32)
    requests = Requests("four", np.zeros(4), given, np.full(4, 3, np.int32))
    served = simulate(packed(Constant(1.0), scheduler="my_module.ShortestFirst"), requests)
    assert served.finished.all()
    assert np.argsort(served.first_token_s).tolist() == [2, 3, 1, 0]


def test_it_serves_every_request_even_when_blocks_are_scarce(my_module):
    my_module(SHORTEST)
    served = simulate(packed(scheduler="my_module.ShortestFirst", kv_blocks=60), random_requests(2), Fleet(2))
    assert served.finished.all() and served.preemptions.sum() > 0


def test_a_router_in_a_file_of_ones_own_may_draw_from_its_own_stream(my_module):
    my_module("""
        class Dice:
            def __init__(self, random):
                self.random = random

            def choose(self, request, replicas):
                return replicas[self.random.integers(len(replicas))]
    """)
    once, again, other = (simulate(packed(), random_requests(1), Fleet(3, "my_module.Dice"), seed=s) for s in (7, 7, 8))
    assert once.replica.tolist() == again.replica.tolist() != other.replica.tolist()
    assert once.finish_s.tobytes() == again.finish_s.tobytes()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("continuos", "Did you mean continuous"),
        ("my_module.Missing", "no module my_module"),
        ("sim.serving.schedulers.Continous", "Did you mean Continuous"),
        ("sim.serving.schedulers.Sequence", "no method decide"),
    ],
)
def test_a_scheduler_that_does_not_exist_or_decides_nothing_is_named(path, says):
    with pytest.raises(InputError, match=says):
        packed(scheduler=path)


def test_a_router_that_does_not_exist_is_named():
    with pytest.raises(InputError, match="Did you mean round_robin"):
        simulate(packed(), random_requests(0), Fleet(1, "roundrobbin"))


class Lost:
    def choose(self, request, replicas):
        return 0


def test_a_router_that_returns_no_replica_is_named():
    with pytest.raises(InputError, match="router Lost: 0 is none of the replicas"):
        simulate(packed(), random_requests(0), Fleet(2, f"{__name__}.Lost"))


class Idle:
    def decide(self, now, waiting, running, kv):
        return Batch(), 1


class Hasty:
    """Decodes what has no prompt yet."""

    def decide(self, now, waiting, running, kv):
        return Batch(decodes=list(waiting)), 1


class Greedy:
    def decide(self, now, waiting, running, kv):
        return Batch(chunks=[(waiting[0], 10**6)]), 1


def test_requests_that_a_scheduler_never_runs_are_accounted_for():
    served = simulate(packed(scheduler=f"{__name__}.Idle"), random_requests(0))
    assert served.refusals == {"left waiting by the scheduler": len(served.status)}


@pytest.mark.parametrize("kind", [Hasty, Greedy])
def test_an_illegal_batch_is_the_schedulers_mistake(kind):
    with pytest.raises(InputError, match=f"scheduler {kind.__name__}"):
        simulate(packed(scheduler=f"{__name__}.{kind.__name__}"), random_requests(0))


def test_stable_for_saves_decisions_and_changes_nothing():
    class Counting:
        made = 0

    from sim.serving.schedulers import Continuous

    def decide(self, now, waiting, running, kv):
        Counting.made += 1
        return Continuous.decide(self, now, waiting, running, kv)

    counted = type("Counted", (Continuous,), {"decide": decide, "__module__": __name__})
    globals()["Counted"] = counted
    requests, finish_s, decisions = random_requests(0), [], []
    for leap in (True, False):
        Counting.made = 0
        finish_s.append(simulate(packed(scheduler=f"{__name__}.Counted"), requests, leap=leap).finish_s.tobytes())
        decisions.append(Counting.made)
    assert finish_s[0] == finish_s[1] and decisions[0] < decisions[1] / 3
