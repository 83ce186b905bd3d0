"""What `train` answers: the published run, money and energy, and what is unknown."""

import pytest

from sim import api
from sim.catalog.campaigns import Campaign
from sim.catalog.plans import Plan
from sim.catalog.scenarios import Economy, Group, Scenario, TokenBudget
from sim.errors import Infeasible, InputError


def scenario(cluster="dgx-h100", devices=16384, economy=None, **plan):
    chosen = Plan(**{"tp": 8, "pp": 16, "global_batch": 2048, **plan})
    group = Group(role="train", model="llama-3.1-405b", cluster=cluster, devices=devices, plan=chosen)
    return Scenario(groups=(group,), demand=TokenBudget(seq_len=8192, tokens=15.6e12), economy=economy or Economy())


@pytest.mark.parametrize("cluster", ["dgx-h100", "trn2", "mi300x", "tpu-v5p", "gb200-nvl72"])
def test_the_published_run_is_answered_on_every_chip_family(cluster):
    result = api.train(scenario(cluster))
    assert result.fits
    assert 0.02 < result["mfu"].value < 0.7
    assert result["days"].value * 86400 == pytest.approx(result["steps"].value * result["step_time"].value)
    assert sum(result.breakdown.values()) == pytest.approx(result["step_time"].value)
    assert sum(result.memory.values()) == pytest.approx(result["memory_per_device"].value)
    assert all(figure.basis for figure in result.figures.values())


def test_device_hours_are_devices_times_the_run():
    result = api.train(scenario())
    assert result["device_hours"].value == pytest.approx(16384 * result["days"].value * 24)
    assert result["cost"].value == pytest.approx(result["device_hours"].value * result["usd_per_device_hour"].value)


def test_spares_of_a_rack_are_paid_for_and_shown():
    result = api.train(scenario("gb200-nvl72"))
    assert result["devices"].value == 16384
    assert result["devices_paid"].value == 16384 * 72 / 64


def test_a_figure_without_its_fact_is_unknown_and_stops_no_other():
    result = api.train(scenario())
    assert result["carbon"].value is None and "--kg-co2-per-kwh" in result["carbon"].note
    known = api.train(scenario(economy=Economy(kg_co2_per_kwh=0.4, usd_per_device_hour=2.0)))
    assert known["carbon"].value == pytest.approx(0.4 * known["energy"].value)
    assert known["cost"].value == pytest.approx(2.0 * known["device_hours"].value)


def test_electricity_is_priced_where_its_price_is_given():
    assert "electricity_cost" not in api.train(scenario()).figures
    priced = api.train(scenario(economy=Economy(usd_per_kwh=0.08)))
    assert priced["electricity_cost"].value == pytest.approx(0.08 * priced["energy"].value)
    unknown = api.train(scenario("trn2", economy=Economy(usd_per_kwh=0.08)))
    assert unknown["electricity_cost"].value is None and "tdp_w" in unknown["electricity_cost"].note


def test_recomputation_is_as_little_as_memory_asks_for():
    result = api.train(scenario(sharding="zero1"))
    assert result["memory_per_device"].value <= result["memory_capacity"].value
    roomy = api.train(scenario("mi300x"))
    assert roomy["hfu"].value <= roomy["mfu"].value * 1.001  # nothing is computed twice, causal tiles are skipped


def test_what_does_not_fit_says_by_how_much_and_what_helps():
    result = api.train(scenario(devices=128, tp=8, pp=1, recompute="full", sharding="none"))
    assert not result.fits
    assert "does not fit" in result.verdict and "over" in result.verdict and "zero3" in result.verdict


def test_an_illegal_plan_and_a_cluster_too_small_are_refused():
    with pytest.raises(InputError, match=r"does not divide"):
        api.train(scenario(tp=7))
    with pytest.raises(Infeasible, match=r"joins 24 at most"):
        api.train(scenario("mtia-2i-chassis", devices=128 * 16))


def test_an_answer_is_the_same_every_time():
    assert api.train(scenario()).to_dict() == api.train(scenario()).to_dict()


def test_a_job_larger_than_a_slice_takes_several_of_equal_size():
    assert api.train(scenario("tpu-v5p"))["slices"].value == 4
    assert api.train(scenario("dgx-h100"))["slices"].value == 1


def test_faults_add_figures_and_leave_the_undisturbed_days():
    plain = api.train(scenario())
    assert any("--faults" in warning for warning in plain.warnings) and "productive_share" not in plain.figures
    asked = scenario().with_(campaign=Campaign(faults=True, seeds=5))
    result = api.train(asked)
    assert result["days"] == plain["days"]
    assert result["days_with_faults"].value * result["productive_share"].value == pytest.approx(
        plain["days"].value, rel=0.02
    )
    assert result["days_with_faults"].low <= result["days_with_faults"].value <= result["days_with_faults"].high
    lost = sum(figure.value for name, figure in result.figures.items() if name.startswith("lost_to_"))
    assert lost == pytest.approx(1 - result["productive_share"].value, abs=0.01)
    assert result["device_hours"].value > plain["device_hours"].value
    assert result["power"].value < plain["power"].value
    assert len(result.tables["campaigns"]["days"]) == 5
    assert "--faults" in result.next_commands[1]


def test_faults_need_a_budget_and_rates():
    asked = scenario().with_(campaign=Campaign(faults=True))
    with pytest.raises(InputError, match=r"Give --tokens"):
        api.train(asked.with_(demand=TokenBudget(seq_len=8192)))
    with pytest.raises(InputError, match=r"--mtbf"):
        api.train(scenario("tpu-v5p").with_(campaign=Campaign(faults=True)))
