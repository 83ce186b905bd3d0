"""Factors of a site: known ones are found again, rows that tell nothing move nothing, and what does not hold is not written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim import api
from sim.catalog.library import Library
from sim.catalog.scenarios import Group, Scenario, Traffic
from sim.catalog.sites import FACTORS, Site, SiteFactors
from sim.errors import InputError
from sim.evidence.context import Context
from sim.evidence.fit_files import Made
from sim.evidence.predictions import silent
from sim.evidence.serving_rows import predict
from sim.evidence.site_files import calibrate_site, is_serving
from sim.evidence.sites import PRIORS, Measured, Plane, solve, what_is_told
from sim.evidence.tables import parse_table

MADE = Made("test", "2026-11-24", "gambrel calibrate runs.csv --chip h100")
HEADER = (
    "model,device,engine,precision,mode,input_tokens,output_tokens,concurrency,batch_size,tp_size,ttft_ms,tpot_ms\n"
)
SIZES = ((256, 256, 1, 1), (256, 256, 4, 1), (512, 256, 16, 1), (512, 256, 8, 1), (256, 256, 2, 2), (512, 256, 16, 2))


def runs(times=None, device="h100-sxm", engine="vllm"):
    lines = []
    for i, (given, made, clients, tp) in enumerate(SIZES):
        told = "," if times is None else f"{times[0][i]},{times[1][i]}"
        lines.append(f"llama-3.1-8b,{device},{engine},bf16,agg,{given},{made},{clients},{clients},{tp},{told}")
    return HEADER + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def elsewhere():
    """TTFT and TPOT [ms] at a site where kernels take 1.15 times and requests 1.6 times what is predicted."""
    library = Library()
    chip, stack = library.chip("h100-sxm"), library.stack("vllm")
    site = SiteFactors(device=1.15, request=1.6)
    given = {(chip.id, stack.id): library.calibration(chip, stack).with_(site=site)}
    found = predict(parse_table(runs(), "runs.csv"), Context(library, given=given), silent).values
    return found["ttft_ms"], found["tpot_ms"]


@pytest.fixture(scope="module")
def written(elsewhere, tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "devices").mkdir()
    (folder / "runs.csv").write_text(runs(elsewhere))
    return folder, calibrate_site([folder / "runs.csv"], "h100", None, (folder, MADE))


def test_factors_of_a_site_are_found_again_and_hold_on_rows_left_out(written):
    _, found = written
    (fit,) = found.fits
    assert not fit.refused
    assert fit.factors["device"] == pytest.approx(1.15, abs=0.03)
    assert 1.0 < fit.factors["request"] < 1.75, "held at 1 by its prior where requests wait for little else than kernels"
    assert np.nanmedian(fit.left_out[0]) < 0.3 * np.nanmedian(fit.without[0])
    json.dumps(found.to_dict(), allow_nan=False)


def test_serving_reads_the_factors_and_its_result_names_them(written):
    folder, found = written
    site = Library(folder).site("h100-sxm", "vllm")
    assert isinstance(site, Site)
    assert found.paths == (folder / "devices" / "sites" / "h100-sxm--vllm.yaml",)
    assert (site.date, site.command, site.rows) == (MADE.date, MADE.command, len(SIZES))
    assert site.left_out.tpot < site.without.tpot
    asked = Scenario(
        groups=(Group(role="serve", model="llama-3.1-8b", cluster="h100-sxm"),),
        demand=Traffic(concurrency=4, requests=8, input_tokens=256, output_tokens=32),
    )
    with_site, without = (api.serve(asked, library=Library(each)) for each in (folder, None))
    assert with_site.provenance["site"]["device"] == site.device
    assert "site" not in without.provenance
    slower = with_site.figures["tpot_mean"].value / without.figures["tpot_mean"].value
    assert slower == pytest.approx(site.device, abs=0.06)
    assert any("devices/sites/h100-sxm--vllm.yaml" in warning for warning in with_site.warnings)


def test_validate_without_the_chip_s_own_fits_leaves_the_site_out(written):
    library = Library(written[0])
    chip, stack = library.chip("h100"), library.stack("vllm")
    assert library.calibration(chip, stack).site is not None
    assert library.calibration(chip, stack, "family").site is None
    assert library.calibration(chip, library.stack("sglang")).site is None


def test_runs_as_they_are_predicted_gain_nothing_and_write_nothing(tmp_path):
    found = predict(parse_table(runs(), "runs.csv"), Context(), silent).values
    (tmp_path / "runs.csv").write_text(runs((found["ttft_ms"], found["tpot_ms"])))
    result = calibrate_site([tmp_path / "runs.csv"], "h100", None, (tmp_path, MADE))
    assert result.paths == ()
    assert "no factor gains anything" in result.fits[0].refused


def test_a_single_row_is_not_fitted_and_says_so(tmp_path):
    (tmp_path / "runs.csv").write_text("\n".join(runs(np.full((2, 6), 20.0)).splitlines()[:2]) + "\n")
    (fit,) = calibrate_site([tmp_path / "runs.csv"], "h100", None, (tmp_path, MADE)).fits
    assert fit.refused.startswith("of a single row nothing can be left out")
    assert "collectives: no row depends on it" in fit.untold


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (runs().replace(",ttft_ms,tpot_ms", ",a,b"), "neither tpot_ms nor ttft_ms is a column"),
        (runs(np.full((2, 6), 20.0)).replace("20.0\n", "fast\n"), r"runs\.csv:2: tpot_ms = 'fast' is not a number"),
        (runs(np.full((2, 6), -1.0)), r"runs\.csv:2: tpot_ms = -1 is no time"),
        (runs(np.full((2, 6), 20.0), device="b200"), r"no serving run of h100-sxm that counts \(6 of other chips\)"),
        (runs(np.full((2, 6), 20.0), engine="sglang"), r"6 of other stacks"),
        (runs(), "do not count: no time"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(text, message, tmp_path):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        calibrate_site([tmp_path / "runs.csv"], "h100", "vllm", (tmp_path, MADE))


def test_serving_benchmarks_are_told_from_kernels(tmp_path):
    (tmp_path / "runs.csv").write_text(runs())
    (tmp_path / "gemm.csv").write_text("device,dtype,m,n,k,time_us\nh100-sxm,bfloat16,64,64,64,5\n")
    assert is_serving(tmp_path / "runs.csv", Library())
    assert not is_serving(tmp_path / "gemm.csv", Library())
    assert not is_serving(tmp_path, Library())


def _plane(shares, times):
    """Times of rows whose parts are these shares [n, 4] of 10 ms, measured as `times` says over that."""
    value = np.full((2, len(shares)), 10.0)
    slope = 10.0 * np.stack([np.array(shares)] * 2)
    counted = np.array([times, np.full(len(shares), np.nan)]) * 10.0
    return Plane(np.ones(4), value, slope, ("",) * len(shares)), Measured(None, None, None, counted)


def test_factors_that_move_every_row_alike_are_not_told_apart():
    plane, measured = _plane([(0.6, 0.4, 0.0, 0.0)] * 40, [1.2] * 40)
    told, words = what_is_told(plane, measured)
    assert len(told) == 1
    assert any("move these rows alike" in each or "too little" in each for each in words)
    assert any(each == "host: no row depends on it" for each in words)


def test_one_wild_row_moves_the_fit_little_and_few_rows_stay_near_the_prior():
    shares = [(1.0, 0.0, 0.0, 0.0)] * 20
    clean = solve(*_plane(shares, [1.2] * 20), ("device",))
    wild = solve(*_plane(shares, [1.2] * 19 + [9.0]), ("device",))
    one = solve(*_plane(shares[:1], [1.2]), ("device",))
    assert clean[0] == pytest.approx(1.2, abs=0.02)
    assert wild[0] == pytest.approx(clean[0], rel=0.05)
    assert 1.0 < one[0] < 1.15
    assert len(PRIORS) == len(FACTORS)
