"""`report`: the page of every kind of result is whole, says the figures of its file, and asks no other host for anything."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sim.app.cli import run
from sim.report.charts import scale_of
from sim.report.tables import value_text
from sim.result import Result
from sim.units import text as shown

TRAIN = "train --model llama-3.1-8b --cluster dgx-h100 --devices 32 --tp 2 --pp 2 --global-batch 64 --tokens 1e11"
SERVE = "serve --model llama-3.1-8b --cluster h100 --concurrency 4 --requests 12 --input-tokens 200 --output-tokens 20"
ASKED = {
    "train": f"{TRAIN} --faults --seeds 5",
    "serve": f"{SERVE} --ttft 1s --window 0.2s",
    "fit": "fit llama-3.1-8b --cluster h100",
    "whatif": f"whatif {TRAIN[6:]} --role train --set chip.memory.bandwidth*=2 --tornado",
    "search": "search train --model llama-3.1-8b --cluster h100 --devices 8 --global-batch 16 --tp 2",
    "capacity": f"capacity {SERVE[6:].replace('--concurrency 4', '--rate 4')} --ttft 1s --tpot 50ms",
    "lifetime": "lifetime chinchilla-70b --tokens 1.4e12 --served 1e13",
    "claim": "claims wikipedia-share",
    "validate": "validate campaigns",
}
SECTIONS = {
    "train": ["figures", "time", "kernels", "memory", "timeline", "campaign", "power"],
    "serve": ["figures", "time", "kernels", "memory", "timeline", "latency", "series"],
    "fit": ["figures", "memory"],
    "whatif": ["sides", "time", "tornado", "baseline"],
    "search": ["front", "ranking", "why"],
    "capacity": ["size", "figures", "time", "kernels", "memory", "timeline", "latency"],
    "lifetime": ["costs"],
    "claim": ["arithmetic"],
}
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"
VOID = {"meta", "br", "img", "link", "line", "circle"}


class Parsed(HTMLParser):
    """Elements of a page with their attributes; raises for elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def charts_of(text: str) -> list[dict]:
    return json.loads(re.search(r'id="charts">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Folder of each kind of result, answered once."""
    folder, made = tmp_path_factory.mktemp("answers"), {}

    def answer(kind: str) -> Path:
        if kind not in made:
            made[kind] = folder / kind
            assert run([*ASKED[kind].split(), "--out", str(made[kind])]) in (0, 1)
        return made[kind]

    return answer


@pytest.fixture(scope="module")
def pages(answers, tmp_path_factory):
    """The page of each kind of result, written once."""
    pytest.importorskip("plotly")
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(kind: str) -> Path:
        if kind not in made:
            made[kind] = folder / f"{kind}.html"
            assert run(["report", str(answers(kind)), "--folder", "-o", str(made[kind])]) == 0
        return made[kind]

    return page


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_page_has_every_section_of_its_kind_and_is_well_formed(kind, pages):
    text = pages(kind).read_text(encoding="utf-8")
    found = Parsed(text)
    assert text.startswith("<!DOCTYPE html>")
    ids = [attributes["id"] for tag, attributes in found.elements if tag == "section"]
    assert [name for name in ids if name not in ("next", "made-from")] == SECTIONS[kind] or kind == "claim"
    anchors = [a["href"] for tag, a in found.elements if tag == "a"]
    assert all(anchor.startswith("#") and anchor[1:] in ids for anchor in anchors)
    places = [a for _, a in found.elements if "data-chart" in a]
    charts = charts_of(text)
    assert [int(a["data-chart"]) for a in places] == list(range(len(charts)))
    assert all(a["aria-label"] for a in places)
    assert all(trace.get("x") for chart in charts for trace in chart["data"]), "an empty plot"


@pytest.mark.parametrize("kind", ["train", "serve", "fit"])
def test_a_page_says_the_figures_of_its_file(kind, answers, pages):
    result = Result.of(json.loads((answers(kind) / "result.json").read_text(encoding="utf-8")))
    words = Parsed(pages(kind).read_text(encoding="utf-8")).words
    assert re.sub(r"\s+", " ", result.verdict) in words
    for name, figure in result.figures.items():
        assert f"{name.replace('_', ' ')} {value_text(figure)}" in words, name


def test_the_time_of_a_page_is_that_of_its_file(answers, pages):
    plain = json.loads((answers("train") / "result.json").read_text(encoding="utf-8"))
    total = charts_of(pages("train").read_text(encoding="utf-8"))[0]["data"][-1]
    seconds = sum(row["seconds"] for row in plain["breakdown"])
    assert total["name"] == "total"
    assert total["hovertext"] == [shown(seconds, "s")]
    assert total["x"][0] == pytest.approx(seconds / scale_of(seconds, "s").factor)


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_page_names_no_other_host(kind, pages):
    found = Parsed(pages(kind).read_text(encoding="utf-8"))
    for tag, attributes in found.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or ""
            assert not re.match(r"(?i)\s*(https?:)?//", value), f"<{tag} {name}={value}>"
    policy = next(a["content"] for tag, a in found.elements if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "http" not in policy.replace("http-equiv", "")
    assert (pages(kind).parent / "plotly.min.js").is_file()


def test_a_file_and_its_scenario_make_the_same_page(answers, tmp_path):
    pytest.importorskip("plotly")
    folder = answers("serve")
    for given, name in ((folder / "result.json", "one.html"), (folder / "scenario.yaml", "two.html")):
        assert run(["report", str(given), "--folder", "-o", str(tmp_path / name)]) == 0
    one, two = ((tmp_path / name).read_text(encoding="utf-8") for name in ("one.html", "two.html"))
    assert charts_of(one) == charts_of(two)
    assert Parsed(one).words == Parsed(two).words


def test_one_file_holds_the_script_and_a_folder_shares_it(answers, tmp_path):
    pytest.importorskip("plotly")
    fit = str(answers("fit"))
    assert run(["report", fit, "--html", "-o", str(tmp_path / "alone.html")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["alone.html"]
    assert run(["report", fit, "--folder", "--out", str(tmp_path / "pages")]) == 0
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["plotly.min.js", "report.html"]
    assert (tmp_path / "alone.html").stat().st_size > 4e6 > (tmp_path / "pages" / "report.html").stat().st_size
    assert "<script src" not in (tmp_path / "alone.html").read_text(encoding="utf-8").rpartition("plotly.js")[2]


@pytest.mark.parametrize("kind", ["train", "whatif", "search", "lifetime", "claim", "validate", "capacity"])
def test_without_html_the_tables_stand_on_the_terminal(kind, answers, capsys):
    folder = str(answers(kind))
    capsys.readouterr()
    assert run(["report", folder]) == 0
    screen = capsys.readouterr().out
    assert run(["report", folder, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["schema"] == "gambrel.report/1"
    squeezed = re.sub(r"\s+", "", screen)
    assert re.sub(r"\s+", "", plain["verdict"]) in squeezed
    tables = [section for section in plain["sections"] if section["tables"] or section["figures"]]
    assert tables and all(section["title"] in screen for section in tables)


def test_hostile_names_stay_text(answers, tmp_path):
    pytest.importorskip("plotly")

    def poisoned(value):
        if isinstance(value, dict):
            return {(key if key != "ffn" else HOSTILE): poisoned(each) for key, each in value.items()}
        if isinstance(value, list):
            return [poisoned(each) for each in value]
        return f"{value} {HOSTILE}" if isinstance(value, str) else value

    for kind, keep in (("lifetime", ()), ("claim", ()), ("search", ())):
        plain = json.loads((answers(kind) / "result.json").read_text(encoding="utf-8"))
        dirty = {**poisoned(plain), "schema": plain["schema"], **{key: plain[key] for key in keep}}
        if kind == "lifetime":
            dirty["unit"] = plain["unit"]
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps(dirty), encoding="utf-8")
        assert run(["report", str(path), "--folder", "-o", str(tmp_path / f"{kind}.html")]) == 0
        text = (tmp_path / f"{kind}.html").read_text(encoding="utf-8")
        found = Parsed(text)
        assert not any(tag == "img" or any(name.startswith("on") for name in a) for tag, a in found.elements)
        assert "49" not in found.words.replace(",", "").split() and HOSTILE.split(">")[0] in found.words
        assert "<img" not in json.dumps(charts_of(text))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"schema": "gambrel.train/2"}', '{"schema": "gambrel.train/1"}', '{"schema": "gambrel.sweep/1"}',
     '{"schema": "gambrel.whatif/1", "baseline": 3}', '{"schema": "gambrel.validate/1", "tables": [1]}',
     '{"schema": "gambrel.search/1", "ranking": []}', '{"schema": "gambrel.diff/1"}', '{"schema": 5}'],
)  # fmt: skip
def test_what_is_no_result_is_refused_in_one_line(text, tmp_path, capsys):
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    assert run(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1


def test_a_place_that_holds_nothing_is_named(tmp_path, capsys):
    assert run(["report", str(tmp_path / "nothing")]) == 2
    assert "no file, folder or scenario" in capsys.readouterr().err


def test_a_stored_result_that_has_moved_says_so(answers, tmp_path, capsys):
    plain = json.loads((answers("train") / "result.json").read_text(encoding="utf-8"))
    plain["figures"]["step_time"]["value"] *= 1.5
    (tmp_path / "result.json").write_text(json.dumps(plain), encoding="utf-8")
    assert run(["report", str(tmp_path), "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any("answered otherwise now" in each for each in warnings)


@pytest.mark.parametrize("missing", ["plotly", "jinja2"])
def test_a_missing_extra_is_named_in_one_line(missing, answers, monkeypatch, tmp_path, capsys):
    pytest.importorskip("plotly")
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    code = run(["report", str(answers("fit")), "--html", "-o", str(tmp_path / "x.html")])
    assert code == 2 and "pip install 'gambrel[report]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_leaves_nothing(answers, monkeypatch, tmp_path, capsys):
    pytest.importorskip("plotly")
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert run(["report", str(answers("fit")), "--html", "-o", str(tmp_path / "x.html")]) == 2
    assert "No space left" in capsys.readouterr().err and not list(tmp_path.iterdir())
