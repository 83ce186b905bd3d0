"""Fits of named parameters: they find what made the times, refuse what does not generalise, say what rows do not tell."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import Library
from sim.cost import interval
from sim.cost.parameters import TABLES, column
from sim.errors import InputError
from sim.evidence.calibrate import Asked, calibrate
from sim.evidence.context import Context
from sim.evidence.fit import LEAST_ROWS, fit_chip, fit_family
from sim.evidence.joint import MOST_LOCAL
from sim.evidence.kernel_rows import kernels_of, stack_of
from sim.evidence.tables import Table, read_table, write_rows

from .all_gathers import HEADER, MADE, group, known, measured, rows, slower

MEASURED = Path(__file__).parents[2] / "devices" / "measured"


def test_times_of_a_slower_chip_give_back_what_made_them():
    given = known(160)
    found = fit_chip(measured(given, slower(given, 1.8, 0.6)))
    table, member = TABLES[given.kind], given.members[0]
    family = member.machine.parameters[member.kernels.kind[0], 0, 0]
    assert not found.refused
    assert found.fitted.median < 0.02 < found.old.median
    assert found.left_out["random"].mean_log < found.old.mean_log
    assert len(found.chips[0].values) <= MOST_LOCAL
    for name, factor in (("launch_clocks", 1.8), ("efficiency", 0.6)):
        assert found.chips[0].values[name] == pytest.approx(factor * family[column(table, name)], rel=0.15)


def test_noise_around_the_familys_values_is_not_taken_for_a_fit():
    given = known(40)
    noise = np.exp(np.random.default_rng(3).normal(0.0, 0.3, 40))
    found = fit_chip(measured(given, given.current[0] * noise))
    assert found.refused or found.left_out["random"].mean_log <= found.prior.mean_log


@pytest.mark.parametrize("count", [1, LEAST_ROWS - 1])
def test_too_few_rows_leave_the_familys_values(count):
    given = known(count)
    for fit in (fit_chip, fit_family):
        found = fit(measured(given, 2.0 * given.current[0]))
        assert "fewer than" in found.refused and not found.chips and not found.family


def test_many_rows_of_one_shape_do_not_tell_parameters_apart():
    line = "h100-sxm,all_gather,8,half,4096,20.5,nccl\n"
    found = fit_chip(group(HEADER + 40 * line))
    assert "40 rows of 1 shapes do not tell" in found.refused


def test_what_the_rows_do_not_tell_is_named_and_stays_the_familys():
    small = HEADER + "".join(f"h100-sxm,all_gather,2,half,{64 + i},1,nccl\n" for i in range(60))
    given = group(small)
    found = fit_chip(measured(given, 1.5 * given.current[0]))
    assert "efficiency" in found.open or "efficiency" not in found.local
    assert not set(found.open) & set(found.chips[0].values)


def test_chips_of_a_family_differ_only_where_that_lowers_the_error_of_rows_left_out():
    both = rows(80) + rows(80, "h200-sxm").partition("\n")[2]
    given = group(both)
    alike = fit_family(given)
    assert not any(chip.values for chip in alike.chips)
    noise = np.exp(np.random.default_rng(5).normal(0.0, 0.03, 80))
    own = given.members[0]._replace(measured=slower(given, 1.6, 0.7) * noise)
    apart = fit_family(replace(given, members=(own, given.members[1]), lawful=False))
    values = apart.chips[0].values | apart.chips[1].values
    assert values and set(values) <= set(apart.local)
    assert apart.left_out["random"].median < 0.06


def test_without_scipy_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match=r"gambrel\[fit\]"):
        fit_chip(known(40))


def _half(table: Table, first: bool) -> Table:
    random = np.random.default_rng(11).random(len(table))
    return table.select([i for i in range(len(table)) if (random[i] < 0.6) == first])


def test_the_interval_covers_eight_of_ten_measured_rows_that_no_fit_saw(tmp_path):
    """Of the all-gathers that ship."""
    table = read_table(MEASURED / "collective.csv")
    write_rows(tmp_path / "seen.csv", _half(table, True), {})
    asked = Asked(family="gpu", stack="nccl", kinds=("all_gather",), catalog=tmp_path, fresh=True)
    calibrate([tmp_path / "seen.csv"], asked, MADE)
    context = Context(Library(tmp_path))
    rest = _half(table, False)
    kernels, _ = kernels_of(rest)
    inside = []
    for i in range(len(rest)):
        if rest.column("stack")[i] == "nccl" and rest.column("op")[i] in asked.kinds:
            chip = context.chip(rest.column("device")[i])
            row = kernels.take(np.array([i]))
            low, high = interval(row, context.machine(chip, stack_of("nccl", chip, context)))
            inside.append(low[0] <= rest.measured("time_us")[i] * 1e-6 <= high[0])
    assert len(inside) > 30
    assert 0.7 <= np.mean(inside) <= 0.9
