"""One of size, demand and latency is solved for, and the answer is the edge: one fewer misses."""

from types import SimpleNamespace

import pytest

from sim.catalog.library import default_library
from sim.catalog.scenarios import Group, Scenario, Slo, Traffic
from sim.errors import Infeasible, InputError
from sim.result import Figure
from sim.studies.capacity import Given, free_of, replica_of, solve

LIBRARY = default_library()
TRAFFIC = Traffic(rate_requests_per_s=10.0, input_tokens=100, output_tokens=10, requests=100)
SLO = Slo(ttft_s=0.5)


def asked(slo=SLO, demand=TRAFFIC):
    return Scenario(groups=(Group(role="serve", model="llama-3.1-8b", cluster="h100"),), demand=demand, slo=slo)


def queue(scenario):
    """A replica that serves 3 requests a second in 0.1 s while it is not overrun."""
    demand, replicas = scenario.demand, scenario.groups[0].replicas
    rate = demand.rate_requests_per_s or 0.0
    ttft = 0.1 if rate <= 3.0 * replicas + 1e-9 else 9.0
    figures = {name: Figure(ttft, "s") for name in ("ttft_p50", "ttft_p95")}
    return SimpleNamespace(fits=ttft <= (scenario.slo.ttft_s or 99.0), figures=figures, verdict="", why="")


def test_devices_are_the_fewest_that_keep_the_limits():
    solved = solve(Given(asked()), LIBRARY, queue)
    assert (solved.value, solved.replicas, solved.missed[0]) == (4, 4, 3)
    power = solve(Given(asked(), free="power"), LIBRARY, queue)
    assert power.value == pytest.approx(4 * replica_of(asked(), LIBRARY).power_w)
    assert solve(Given(asked(), free="budget"), LIBRARY, queue).value == pytest.approx(
        4 * replica_of(asked(), LIBRARY).usd_per_h
    )


def test_demand_is_the_largest_within_a_percent():
    solved = solve(Given(asked(), devices=7, free="demand"), LIBRARY, queue)
    assert 21.0 / 1.01 <= solved.value <= 21.0
    each = replica_of(asked(), LIBRARY)
    for size in ({"power_w": 7.5 * each.power_w}, {"budget_usd_per_h": 7.5 * each.usd_per_h}):
        assert solve(Given(asked(), **size), LIBRARY, queue, demanded=False).replicas == 7


def test_latency_is_what_the_fleet_shows():
    assert solve(Given(asked(Slo()), devices=4), LIBRARY, queue).value == pytest.approx(0.1)
    assert solve(Given(asked(Slo()), devices=3), LIBRARY, queue).value == pytest.approx(9.0)


def test_a_limit_that_no_fleet_keeps_is_refused_before_the_search():
    with pytest.raises(Infeasible, match="replica to itself sees"):
        solve(Given(asked(Slo(ttft_s=0.05))), LIBRARY, queue)


def test_exactly_one_is_free():
    assert free_of(Given(asked()), True) == "devices"
    with pytest.raises(InputError, match="nothing is free"):
        free_of(Given(asked(), devices=2), True)
    with pytest.raises(InputError, match="devices and latency are free"):
        free_of(Given(asked(Slo())), True)
    with pytest.raises(InputError, match="--free = latency"):
        free_of(Given(asked(), free="latency"), True)
    with pytest.raises(Infeasible, match="holds no replica"):
        solve(Given(asked(), budget_usd_per_h=0.01), LIBRARY, queue, demanded=False)
