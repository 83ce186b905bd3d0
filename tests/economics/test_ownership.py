"""Owning against renting: closed forms against bisection and cash flows written out; spot; what is refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.app.cli import run
from sim.catalog.library import default_library
from sim.catalog.ownership import Owned
from sim.catalog.prices import price_of
from sim.economics.ownership import (
    HOURS_A_YEAR,
    Site,
    annuity,
    book_values,
    break_even_share,
    present_value,
    spot_factor,
    usd_per_hour,
    yearly,
)
from sim.errors import InputError

TERMS = {
    "purchase_usd": 30000, "life_years": 5, "discount_rate": 0.08, "residual_share": 0.1, "staff_usd_per_year": 400,
    "maintenance_share": 0.05, "space_usd_per_kw_month": 120, "spare_share": 0.03, "busy_share": 0.7,
}  # fmt: skip
OWNED = Owned.model_validate(TERMS)
SITE = Site(busy_w=1000.0, idle_w=200.0, provisioned_w=1200.0, usd_per_kwh=0.1)
TEXT = "\n".join(f"{key}: {value}" for key, value in TERMS.items()) + "\n"


def test_present_value_is_that_of_every_payment_written_out():
    parts, bought, share = yearly(OWNED, SITE), 30000 * 1.03, 0.7
    running = 400 + bought * 0.05 + 120 * 12 * 1.2 + HOURS_A_YEAR * 0.1 * (share * 1.0 + (1 - share) * 0.2)
    by_hand = bought + sum(running / 1.08**year for year in range(1, 6)) - 0.1 * bought / 1.08**5
    assert present_value(OWNED, SITE) == pytest.approx(by_hand)
    assert (parts.fixed + share * parts.of_use) * annuity(0.08, 5) == pytest.approx(by_hand)


def test_rent_at_the_owned_price_has_the_same_present_value():
    rent = usd_per_hour(OWNED, SITE)
    paid = sum(rent * HOURS_A_YEAR * OWNED.busy_share / 1.08**year for year in range(1, 6))
    assert paid == pytest.approx(present_value(OWNED, SITE))


def bisected(rent: float) -> float:
    low, high = 1e-9, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if usd_per_hour(OWNED, SITE, middle) > rent else (low, middle)
    return high


@given(st.floats(1.3, 20.0))
def test_the_break_even_in_closed_form_is_that_of_bisection(rent):
    share = break_even_share(OWNED, SITE, rent)
    if share is None:
        assert usd_per_hour(OWNED, SITE, 1.0) > rent
    else:
        assert share == pytest.approx(bisected(rent), rel=1e-9)
        assert usd_per_hour(OWNED, SITE, share) == pytest.approx(rent)


def test_limits_without_interest_residual_and_use():
    assert annuity(0.0, 5) == 5
    assert annuity(1e-9, 5) == pytest.approx(5, rel=1e-6)
    plain = OWNED.with_(discount_rate=0.0, residual_share=0.0, spare_share=0.0)
    assert yearly(plain, SITE).capital == pytest.approx(30000 / 5)
    assert yearly(OWNED.with_(residual_share=1.0, discount_rate=0.0), SITE).capital == pytest.approx(0.0)
    assert break_even_share(OWNED, SITE, 0.05) is None
    with pytest.raises(InputError):
        usd_per_hour(OWNED, SITE, 0.0)


def test_the_books_fall_straight_to_the_residual():
    values = book_values(OWNED.with_(life_years=2.5))
    assert values == pytest.approx([30000 - 27000 / 2.5, 30000 - 2 * 27000 / 2.5, 3000])


def test_spot_pays_for_what_interruptions_waste():
    assert spot_factor(3600.0, 0.0) == 1.0
    assert spot_factor(3600.0, 900.0) == pytest.approx(4 / 3)
    with pytest.raises(InputError, match="Save more often"):
        spot_factor(600.0, 900.0)


def test_offers_keep_to_region_and_term():
    library = default_library()
    assert price_of(library, "h100-sxm", "on_demand", "us-east-1").region in ("us-east-1", "all")
    assert price_of(library, "h100-sxm", None, "ap-southeast-4").region == "all"  # an offer that holds everywhere
    with pytest.raises(InputError, match="no offer of gb200 there"):
        price_of(library, "gb200", None, "ap-southeast-4")
    with pytest.raises(InputError, match="'atlantis' is in no price row"):
        price_of(library, "h100-sxm", None, "atlantis")
    with pytest.raises(InputError, match="term = 'lease'"):
        price_of(library, "h100-sxm", "lease")


def test_the_command_answers_and_prices_a_scenario_alike(tmp_path, capsys):
    path = tmp_path / "terms.yaml"
    path.write_text(TEXT)
    assert run(["own", "h100-sxm", str(path), "--usd-per-kwh", "0.1", "--rent", "3.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "gambrel.own/1"
    site = Site(**found["site"])
    assert found["owned_usd_per_hour"] == pytest.approx(usd_per_hour(OWNED, site))
    assert found["break_even_busy_share"] == pytest.approx(break_even_share(OWNED, site, 3.5))
    assert run(["own", "h100-sxm", str(path), "--usd-per-kwh", "0.1"]) == 0
    assert "Owned $" in capsys.readouterr().out
    assert run(["own", "h100-sxm", str(path), "--usd-per-kwh", "-1"]) == 2
    path.write_text(TEXT.replace("staff_usd_per_year: 400\n", ""))
    assert run(["own", "h100-sxm", str(path), "--usd-per-kwh", "0.1"]) == 2
    assert "staff_usd_per_year is missing" in capsys.readouterr().err
    assert math.isfinite(found["present_value_usd"])
