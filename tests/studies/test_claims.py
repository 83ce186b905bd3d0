"""Claims: each has its verdict from its own files; nothing is hard-coded; verdicts follow the rule."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from sim.api import serve, train
from sim.app.claims import judge_all
from sim.app.cli import run
from sim.catalog.claims import claim
from sim.catalog.claims import claims as known
from sim.catalog.library import Library, default_library, package_root
from sim.errors import InputError
from sim.studies.claims import FAILS, HOLDS, HOLDS_UNDER, OUTSIDE, bounds, judge

ALL = known(default_library())
TOY = """
id: toy
statement: "Twice two is four."
source: "everyone"
steps:
  two: {value: 2, low: 1.9, high: 2.2, source: "a count"}
  four: {formula: two * two}
  eight: {formula: four * two}
asked: %s
"""


def evaluate(library):
    return lambda asked: (train if asked.groups[0].role == "train" else serve)(asked, library)


def toy(tmp_path, asked: str):
    path = tmp_path / "toy.yaml"
    path.write_text(TOY % asked)
    return judge_all(str(path), default_library())[0]


@pytest.fixture(scope="module")
def judged():
    return {each.claim.id: each for each in judge_all(None, default_library())}


def test_every_claim_gets_a_verdict_with_its_steps(judged):
    assert set(judged) == set(ALL)
    for each in judged.values():
        assert each.verdict in (HOLDS, HOLDS_UNDER, FAILS, OUTSIDE)
        assert each.verdict == OUTSIDE or each.figure.value is not None, each.claim.id
        assert {step.name for step in each.steps} == set(each.claim.steps)
        assert "{" not in each.note + each.why
        assert each.verdict != OUTSIDE or each.claim.outside, f"{each.claim.id}: {each.why}"


@pytest.mark.parametrize("name", ALL)
def test_a_claim_states_no_result_it_names_sources_and_uses_what_it_holds(name):
    one = claim(default_library(), name)
    text = default_library().find("claim", name).path.read_text()
    for term in one.steps.values():
        assert term.value is None or term.source
    for scenario in one.scenarios:
        assert f"of: {scenario}" in text, f"{scenario} is not used"


def test_the_page_shows_every_claim_with_its_verdict(judged):
    page = (package_root() / "docs" / "claims.md").read_text()
    for each in judged.values():
        assert f"\n## {each.claim.id}\n" in page, f"{each.claim.id}: run `make claims`"
        assert f"](#{each.claim.id}) | {each.claim.statement} | {each.verdict}" in page, (
            f"{each.claim.id}: run `make claims`"
        )


def test_a_published_arithmetic_is_met_exactly(judged):
    steps = {step.name: step.figure.value for step in judged["gpt-3-cost"].steps}
    assert steps["gpu_years"] == pytest.approx(355, rel=0.01)  # Li 2020
    assert steps["claimed_cost"] == pytest.approx(4.6e6, rel=0.02)
    assert steps["six_n_d"] == pytest.approx(3.14e23, rel=0.01)  # Brown et al., table D.1


def test_another_price_moves_the_money_in_proportion(tmp_path, judged):
    (tmp_path / "devices").mkdir()
    with (package_root() / "devices" / "prices.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "devices" / "prices.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "usd_per_device_hour": 2 * float(row["usd_per_device_hour"])} for row in rows)
    library = Library(tmp_path)
    dearer = judge("modern-model-cost", library, evaluate(library))
    assert dearer.figure.value == pytest.approx(2 * judged["modern-model-cost"].figure.value)
    assert (judged["modern-model-cost"].verdict, dearer.verdict) == (HOLDS, HOLDS)
    chips = {line.label: line for line in judge("gpt-3-cost", library, evaluate(library)).tables["chips"]}
    before = {line.label: line for line in judged["gpt-3-cost"].tables["chips"]}
    assert chips["h100-sxm"].figures["cost"].value == pytest.approx(2 * before["h100-sxm"].figures["cost"].value)


def test_another_chip_moves_the_figures(tmp_path, judged):
    folder = tmp_path / "devices" / "chips"
    folder.mkdir(parents=True)
    text = (package_root() / "devices" / "chips" / "a100-sxm-80gb.yaml").read_text()
    assert "capacity_gib: 80" in text
    (folder / "a100-sxm-80gb.yaml").write_text(text.replace("capacity_gib: 80", "capacity_gib: 96"))
    library = Library(tmp_path)
    assert judged["rounding-one-gpu"].verdict == HOLDS_UNDER  # 4 bits of 175 billion do not fit 80 GiB
    assert judge("rounding-one-gpu", library, evaluate(library)).verdict == HOLDS
    shutil.rmtree(folder)


def test_the_verdict_follows_from_the_bounds_and_the_interval(tmp_path):
    assert toy(tmp_path, "{figure: four, about: 4}")[1:3] == (HOLDS, True)
    assert toy(tmp_path, "{figure: four, at_least: 3, at_most: 5}")[1:3] == (HOLDS, True)
    assert toy(tmp_path, "{figure: four, at_least: 6}")[1:3] == (FAILS, True)
    assert toy(tmp_path, "{figure: four, at_least: 4.5}")[1:3] == (FAILS, False)
    under = toy(tmp_path, "{figure: four, at_least: 6, under: [{condition: once more, figure: eight}]}")
    assert under.verdict == HOLDS_UNDER
    assert under.why.startswith("once more: eight is 8")
    assert bounds(under.claim.asked) == (6.0, float("inf"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("{figure: five, about: 4}", "five is no step"),
        ("{figure: four}", "say what is claimed"),
        ("{figure: four, about: 4}\noutside: no", "either asked or outside"),
    ],
)
def test_a_malformed_claim_is_one_clear_line(tmp_path, asked, words):
    with pytest.raises(InputError, match=words):
        toy(tmp_path, asked)


def test_a_step_that_needs_itself_is_refused(tmp_path):
    path = tmp_path / "loop.yaml"
    path.write_text(
        "id: loop\nstatement: s\nsource: s\nsteps: {a: {formula: b}, b: {formula: a}}\nasked: {figure: a, about: 1}\n"
    )
    with pytest.raises(InputError, match="a -> b -> a needs itself"):
        judge_all(str(path), default_library())


def test_the_command_prints_the_arithmetic_and_a_versioned_object(capsys):
    assert run(["claims", "wikipedia-share"]) == 0
    assert "share_of_what_was_read" in capsys.readouterr().out.replace(" ", "_")
    assert run(["claims", "wikipedia-share", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "gambrel.claims/1"
    assert found["claims"][0]["verdict"] == HOLDS_UNDER
    assert run(["claims", "wikipedia"]) == 2
    assert "Did you mean wikipedia-share" in capsys.readouterr().err
