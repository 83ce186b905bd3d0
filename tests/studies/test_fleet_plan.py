"""Fleets are optimal: equal to trying everything, to the arithmetic of a toy, and refused with the limit that binds."""

import itertools
import math

import pytest

from sim.catalog.files import Document
from sim.catalog.fleet_plans import HOURS_PER_QUARTER, FleetPlan, Job, Offer, Region, check
from sim.catalog.records import parse
from sim.catalog.scenarios import Slo, Traffic
from sim.errors import Infeasible, InputError
from sim.result import Result
from sim.studies.capacity import proven
from sim.studies.fleet_plan import limits, plan_fleet, relaxations
from sim.studies.fleet_program import LIGHT_IN_GLASS_M_PER_S

TRAFFIC = Traffic(input_tokens=100, output_tokens=10)


def region(name="here", p50=(), p90=(), **more):
    return Region(
        id=name, p50_requests_per_s=p50, p90_requests_per_s=p90, pue=1.0, usd_per_kwh=0.0, kg_co2_per_kwh=0.4, **more
    )


def offer(name, rate, **more):
    power = {"provisioned_w": 1000.0, "idle_w": 0.0, "busy_w": 1000.0}
    return Offer(id=name, cluster=name, chips=1, requests_per_s=rate, ttft_s=0.1, **{**power, **more})


def fleet(regions, offers, quarters=1, **more):
    return FleetPlan(
        model="any", quarters=quarters, traffic=TRAFFIC, regions=tuple(regions), offers=tuple(offers), **more
    )


def test_a_toy_fleet_solved_by_hand():
    """Eleven requests a second; three a replica at 2 dollars an hour: four replicas for one quarter."""
    planned = plan_fleet(fleet([region(p90=(11.0,))], [offer("a", 3.0, rent_usd_per_device_hour=2.0)]))
    assert planned.bill.total_usd == pytest.approx(4 * 2.0 * HOURS_PER_QUARTER)
    assert [each.rented_peak for each in planned.holdings] == [4]
    assert planned.bill.kg_co2[0] == pytest.approx(11.0 / 3.0 * HOURS_PER_QUARTER * 0.4)


def test_what_is_owned_already_costs_nothing_and_spares_do():
    owned = offer("a", 3.0, rent_usd_per_device_hour=2.0, owned_replicas={"here": 4})
    assert plan_fleet(fleet([region(p90=(11.0,))], [owned])).bill.total_usd == pytest.approx(0.0, abs=1e-6)
    spared = plan_fleet(fleet([region(p90=(11.0,))], [owned], spare_replicas=2))
    assert spared.bill.total_usd == pytest.approx(2 * 2.0 * HOURS_PER_QUARTER)


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_trying_every_fleet(seed):
    """Two offers over two quarters: every order and every rental of up to six replicas."""
    import numpy as np

    stream = np.random.default_rng(seed)
    wanted = tuple(float(x) for x in stream.uniform(2.0, 12.0, 2).round(1))
    rates, rents = stream.uniform(2.0, 5.0, 2).round(1), stream.uniform(1.0, 4.0, 2).round(2)
    own, stock, least = float(stream.uniform(20e3, 60e3)), int(stream.integers(1, 4)), 2
    bought = offer("a", float(rates[0]), rent_usd_per_device_hour=float(rents[0]), own_usd_per_device=own, life_quarters=8,
                   minimum_chips=least, stock_chips={"here": (stock, stock + 1)})  # fmt: skip
    rented = offer("b", float(rates[1]), rent_usd_per_device_hour=float(rents[1]), rentable_chips={"here": (2, 2)})
    asked = fleet([region(p90=wanted)], [bought, rented], quarters=2, spare_replicas=0)
    best = math.inf
    for first, second in itertools.product((0, *range(least, 7)), repeat=2):
        if first > stock or first + second > stock + 1:
            continue
        usd = own * (first * 2 / 8 + second * 1 / 8)
        for quarter, owned in enumerate((first, first + second)):
            usd += min(
                (a * rents[0] + b * rents[1]) * HOURS_PER_QUARTER
                for a, b in itertools.product(range(7), range(3))
                if (owned + a) * rates[0] + b * rates[1] >= wanted[quarter] - 1e-9
            )
        best = min(best, usd)
    assert plan_fleet(asked).bill.total_usd == pytest.approx(best, rel=1e-9)


def test_owning_and_renting_break_even_where_arithmetic_says():
    """Written off over eight quarters, a device is worth buying above price / (8 quarters of hours) dollars an hour."""
    price = 40_000.0
    even = price / (8 * HOURS_PER_QUARTER)
    for factor, owns in ((0.99, False), (1.01, True)):
        one = offer("a", 3.0, rent_usd_per_device_hour=even * factor, own_usd_per_device=price, life_quarters=8)
        holding = plan_fleet(fleet([region(p90=(2.0,) * 8)], [one], quarters=8)).holdings[0]
        assert (holding.owned, holding.rented_peak) == ((1, 0) if owns else (0, 1))


def test_another_provider_serves_what_is_dear_to_serve():
    one = offer("a", 10.0, rent_usd_per_device_hour=3.6)
    cheap = 3.6 / 3600.0 / 10.0 * 2.0  # twice what a full replica costs a request
    planned = plan_fleet(fleet([region(p90=(12.0,))], [one], api_usd_per_request=cheap))
    assert planned.api == {(0, "here"): pytest.approx(2.0)}


def test_a_job_takes_its_devices_from_the_service():
    one = offer("a", 3.0, rent_usd_per_device_hour=2.0)
    job = Job(id="tune", devices={"a": 5}, first_quarter=0, quarters=1)
    planned = plan_fleet(fleet([region(p90=(6.0,))], [one], jobs=(job,)))
    assert planned.holdings[0].rented_peak == 7 and planned.jobs == (("tune", "a", "here"),)


def test_delivery_takes_its_quarters():
    own = offer("a", 3.0, own_usd_per_device=1.0, life_quarters=4, delivery_quarters=1)
    with pytest.raises(Infeasible, match="demand"):
        plan_fleet(fleet([region(p90=(3.0, 3.0))], [own], quarters=2))
    planned = plan_fleet(fleet([region(p90=(0.0, 3.0))], [own], quarters=2))
    assert [(each.quarter, each.ordered, each.owned) for each in planned.holdings] == [(0, 1, 0), (1, 0, 1)]


def test_what_binds_is_named_with_the_least_that_must_give():
    """Ten a second need 4 kW of own site; there are 3: a third more power, or a quarter less demand."""
    own = offer("a", 2.5, own_usd_per_device=1.0, life_quarters=4)
    asked = fleet([region(p90=(10.0,), site_w=3000.0)], [own])
    assert limits(asked) == ["demand", "power of here"]
    with pytest.raises(Infeasible, match=r"power of here would have to give 33\.3%"):
        plan_fleet(asked)
    assert relaxations(asked)[0] == "demand would have to give 25.0% of itself."
    with pytest.raises(Infeasible, match="carbon"):
        plan_fleet(asked.with_(regions=(region(p90=(10.0,)),), carbon_kg_per_quarter=1.0))


def test_demand_goes_where_the_round_trip_leaves_time():
    near = region("near", p90=(5.0,), round_trip_s={"far": 0.2})
    one = offer("a", 5.0, rent_usd_per_device_hour=1.0, regions=("far",))
    assert plan_fleet(fleet([near, region("far")], [one], slo=Slo(ttft_s=1.0))).holdings[0].region == "far"
    with pytest.raises(Infeasible, match="demand"):
        plan_fleet(fleet([near, region("far")], [one], slo=Slo(ttft_s=0.25)))


def test_nothing_is_faster_than_light():
    metres = 1e7
    quick = region(
        "near", p90=(5.0,), round_trip_s={"far": 1.9 * metres / LIGHT_IN_GLASS_M_PER_S}, distance_m={"far": metres}
    )
    one = offer("a", 5.0, rent_usd_per_device_hour=1.0)
    with pytest.raises(Infeasible, match="light in glass"):
        plan_fleet(fleet([quick, region("far")], [one]))
    with pytest.raises(Infeasible, match=r"slo.ttft = 10 ms, but the fastest offer"):
        plan_fleet(fleet([region(p90=(5.0,))], [one], slo=Slo(ttft_s=0.01)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"regions": [{"id": "here", "p90_requests_per_s": [-1.0], "pue": 1, "usd_per_kwh": 0, "kg_co2_per_kwh": 0}]}, "p90"),
        ({"offers": [{"id": "a", "cluster": "h100", "chips": 1, "provisioned_w": 1, "idle_w": 0, "busy_w": 1,
                      "owned_replicas": {"mars": 1}}]}, "region 'mars' is not in the plan"),
        ({"quarters": 2}, "1 values for 2 quarters"),
    ],
)  # fmt: skip
def test_a_malformed_plan_says_where_in_one_line(change, said):
    data = {
        "model": "any", "quarters": 1, "traffic": {"kind": "traffic"},
        "regions": [{"id": "here", "p90_requests_per_s": [1.0], "pue": 1, "usd_per_kwh": 0, "kg_co2_per_kwh": 0}],
        "offers": [{"id": "a", "cluster": "h100", "chips": 1, "provisioned_w": 1, "idle_w": 0, "busy_w": 1}],
        **change,
    }  # fmt: skip
    document = Document(data, {}, "plan.yaml")
    with pytest.raises(InputError, match=said) as raised:
        check(parse(FleetPlan, document), document)
    assert "\n" not in str(raised.value)


def test_a_fleet_that_misses_in_simulation_is_planned_with_less_load_a_replica():
    plan = fleet([region(p90=(10.0,))], [offer("a", 5.0, rent_usd_per_device_hour=1.0)])

    def evaluate(scenario):
        """A replica keeps the limits up to 4 requests a second."""
        group = scenario.groups[0]
        fits = scenario.demand.rate_requests_per_s <= 4.0 * group.replicas + 1e-9
        return Result("toy/1", "", {}, {}, fits=fits)

    planned, checks = proven(plan, evaluate)
    assert all(each.meets for each in checks)
    assert planned.holdings[0].rented_peak == 3
    assert planned.plan.offers[0].requests_per_s == pytest.approx(5.0 * 0.9)


def test_a_fleet_that_never_keeps_the_limits_is_shown_with_what_it_misses():
    plan = fleet([region(p90=(10.0,))], [offer("a", 5.0, rent_usd_per_device_hour=1.0)])
    _, checks = proven(plan, lambda scenario: Result("toy/1", "", {}, {}, fits=False))
    assert [each.meets for each in checks] == [False]
