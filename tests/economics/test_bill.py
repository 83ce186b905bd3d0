"""The bill of a run: owned, on spot, carbon by place, contract and making; hourly grids against sums by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sim.api import train
from sim.catalog.grid import Grid, read_grid
from sim.catalog.scenarios import Economy, Group, Scenario, TokenBudget
from sim.errors import InputError

GROUP = {"role": "train", "model": "llama-3.1-8b", "cluster": "dgx-h100", "devices": 16, "plan": {"tp": 2}}
OWNED = {
    "purchase_usd": 30000, "life_years": 5, "discount_rate": 0.08, "residual_share": 0.1, "staff_usd_per_year": 0,
    "maintenance_share": 0, "space_usd_per_kw_month": 0, "spare_share": 0, "busy_share": 1.0,
}  # fmt: skip
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def run(**economy):
    asked = Scenario(
        groups=(Group.model_validate(GROUP),),
        demand=TokenBudget(tokens=2e9, seq_len=4096),
        economy=Economy.model_validate(economy),
    )
    return train(asked)


def test_money_energy_and_carbon_carry_the_interval_of_the_step():
    found = run(kg_co2_per_kwh=0.3, kg_co2_per_kwh_market=0.1)
    step = found["step_time"]
    for name in ("cost", "energy", "carbon", "carbon_market", "device_hours"):
        assert found[name].low / found[name].value == pytest.approx(step.low / step.value)
        assert found[name].high / found[name].value == pytest.approx(step.high / step.value)
    assert found["carbon"].value == pytest.approx(0.3 * found["energy"].value)
    assert found["carbon_market"].value == pytest.approx(0.1 * found["energy"].value)


def test_what_making_the_chips_emitted_is_spread_over_their_life():
    found = run(life_years=4.0)
    chip_years = found["device_hours"].value / 8766
    assert found["carbon_embodied"].value == pytest.approx(164 * chip_years / 4.0)
    assert run()["carbon_market"].value is None
    other = Scenario(
        groups=(Group.model_validate({**GROUP, "cluster": "dgx-a100"}),), demand=TokenBudget(tokens=1e10, seq_len=4096)
    )
    assert "not published" in train(other)["carbon_embodied"].note


def test_an_owned_chip_costs_its_annuity_and_its_electricity():
    free = run(owned=OWNED, usd_per_kwh=0.0)
    capital = (30000 - 3000 / 1.08**5) * 0.08 / (1 - 1.08**-5)
    assert free["usd_per_device_hour"].value == pytest.approx(capital / 8766)
    paid = run(owned=OWNED, usd_per_kwh=0.1)
    assert paid["cost"].value - free["cost"].value == pytest.approx(paid["electricity_cost"].value)
    assert "usd_per_kwh is unknown" in run(owned=OWNED)["cost"].note


def test_an_hourly_grid_is_averaged_over_the_run(tmp_path):
    path = tmp_path / "grid.csv"
    rows = [f"2026-03-01T{hour:02d}:00,{0.1 if hour < 12 else 0.5}" for hour in range(24)]
    path.write_text("datetime,kg_co2_per_kwh\n" + "\n".join(rows) + "\n")
    grid = read_grid(path)
    assert grid.mean(FIRST, 24 * 3600) == pytest.approx(0.3)
    assert grid.mean(FIRST, 12 * 3600) == pytest.approx(0.1)
    assert grid.mean(FIRST.replace(hour=11, minute=30), 3600) == pytest.approx(0.3)
    assert grid.mean(FIRST, 1000 * 86400) == pytest.approx(0.3)
    assert grid.mean(FIRST.replace(hour=18), 12 * 3600) == pytest.approx(0.3)  # six hours of this day, six of the next
    assert Grid(FIRST, (0.2,), "flat").mean(FIRST, 1234.5) == pytest.approx(0.2)
    day, night = run(grid=str(path), start="2026-03-01T02:00"), run(grid=str(path), start="2026-03-01T13:00")
    assert day["device_hours"].value / 16 < 9  # hours: each run stays in its half of the day
    assert day["carbon"].value == pytest.approx(0.1 * day["energy"].value)
    assert night["carbon"].value == pytest.approx(0.5 * night["energy"].value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("datetime,kg\n2026-03-01T00:00,1\n", "the column kg_co2_per_kwh is missing"),
        ("datetime,kg_co2_per_kwh\n2026-03-01T00:00,x\n", ":2: kg_co2_per_kwh = 'x'"),
        ("datetime,kg_co2_per_kwh\n2026-03-01T00:00,-1\n", "of 0 or more"),
        ("datetime,kg_co2_per_kwh\nmonday,1\n", "'monday' is not a date"),
        ("datetime,kg_co2_per_kwh\n2026-03-01T00:00,1\n2026-03-01T02:00,1\n", "Fill the gap"),
        ("datetime,kg_co2_per_kwh\n", "no hour is given"),
    ],
)
def test_a_malformed_grid_is_one_clear_line(tmp_path, text, words):
    path = tmp_path / "grid.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_grid(path)


def test_a_run_that_begins_before_the_file_is_refused():
    with pytest.raises(InputError, match="Begin later"):
        Grid(FIRST, (0.2,), "flat").mean(FIRST.replace(year=2025), 10)
