"""Published campaigns from failures that were counted on others."""

from __future__ import annotations

import pytest

from sim.catalog.library import package_root
from sim.evidence.campaign_rows import chosen, fleets_of, predict
from sim.evidence.context import Context
from sim.evidence.predictions import silent
from sim.evidence.tables import read_table

CONTEXT = Context()
TABLE = read_table(package_root() / "workloads" / "measured" / "campaigns.csv")
FOUND = predict(TABLE.configuration(), CONTEXT, silent)
SHARE, BETWEEN = "planned_or_effective_fraction", "mtbf_h"


def test_a_campaign_is_never_predicted_from_its_own_count():
    fleets = fleets_of(CONTEXT)
    hopper = CONTEXT.chip("H100-SXM-80GB")
    assert [f.reliability.fleet for f in chosen(fleets, hopper, "DeepSeek-V3")] == ["Llama 3.1 405B, 16384 H100"]
    own = chosen(fleets, hopper, "Llama-3.1-405B")
    assert own and all(not f.reliability.campaigns for f in own)


def test_time_between_failures_is_within_a_factor_of_one_and_a_half():
    measured, predicted = TABLE.measured(BETWEEN), FOUND.values[BETWEEN]
    ratios = [p / m for m, p in zip(measured, predicted, strict=True) if m == m]
    assert len(ratios) == 7
    assert all(1 / 1.5 < ratio < 1.5 for ratio in ratios)


def test_the_productive_share_is_within_five_points_and_over_published_bounds():
    predicted = dict(zip(TABLE.column("id"), FOUND.values[SHARE], strict=True))
    for label, measured in zip(TABLE.column("id"), TABLE.column(SHARE), strict=True):
        if measured.startswith(">"):
            assert predicted[label] > float(measured[1:])
        elif measured:
            assert predicted[label] == pytest.approx(float(measured), abs=0.05)


def test_a_fleet_that_is_its_own_measure_is_marked():
    marked = {label for label, basis in zip(TABLE.column("id"), FOUND.basis, strict=True) if basis == "measured"}
    assert marked == {"camp-rsc-1k", "camp-rsc-16k", "camp-rsc-131k"}
