"""No step is predicted faster than its FLOPs at the best rate that was ever measured on its chip."""

from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import default_library, package_root
from sim.evidence.context import Context
from sim.evidence.least_times import best_rates, least_times
from sim.evidence.predictions import Predictions
from sim.evidence.tables import read_table
from sim.evidence.validate import validate

LIBRARY = default_library()
TRAINING = package_root() / "workloads" / "measured" / "training.csv"


def test_the_best_measured_product_is_below_the_datasheet_and_well_above_nothing():
    for (chip, dtype), rate in best_rates(LIBRARY).items():
        assert 0.4 < rate / LIBRARY.chip(chip).matmul_flops_per_s(dtype) < 1.0, (chip, dtype)


def test_no_shipped_row_is_predicted_faster_than_its_flops_allow():
    for table in validate("training", None).tables:
        assert table.least_time is not None
        assert table.least_time.under == (), table.name
        assert table.least_time.rows == table.predicted


@pytest.mark.parametrize(("rate", "under"), [(1.0, 0), (1e9, 1)])
def test_a_rate_that_no_chip_reaches_is_named(rate, under):
    table = read_table(Path(TRAINING)).select([0])
    blank = np.full(1, np.nan)
    values = {name: np.array([rate]) for name in table.kind.measured}
    found = least_times(table, Predictions(values, ("",), blank, blank, ("",)), Context())
    assert found is not None
    assert len(found.under) == under
    assert all(name == table.column("id")[0] and share > 1.0 for name, share in found.under)


def test_tables_of_other_kinds_have_no_such_floor():
    table = read_table(package_root() / "devices" / "measured" / "gemm.csv").select([0])
    blank = np.full(1, np.nan)
    assert least_times(table, Predictions({"time_us": blank}, ("",), blank, blank, ("",)), Context()) is None
