"""The pages in a browser: by mouse and by keyboard alone, narrow and wide, without a word on the console or a request elsewhere."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

QUICK = "model=llama-3.1-8b&cluster=dgx-h100&devices=64&global-batch=256&tp=2&pp=2"
SERVED = "model=llama-3.1-8b&cluster=h100&rate=4&requests=40&input-tokens=500&output-tokens=40"
PAGES = {
    "train": f"/train?{QUICK}&set=chip.memory.bandwidth*%3D1.5",
    "serve": f"/serve?{SERVED}&set=chip.memory.bandwidth*%3D1.5",
    "catalogue": "/catalogue?kind=chip&id=h100-sxm",
    "accuracy": "/accuracy",
}
WIDE, NARROW = (1440, 900), (390, 844)


class Visit:
    """A page with what it says on its console and what it asks of others."""

    def __init__(self, context, address):
        self.address = address
        self.said, self.outside = [], []
        self.page = context.new_page()
        self.page.on("console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request):
        if not request.url.startswith((f"{self.address}/", "data:", "blob:")):
            self.outside.append(request.url)

    def size(self, width, scheme="light"):
        """Narrow or wide, light or dark; what is drawn follows."""
        self.page.set_viewport_size({"width": width[0], "height": width[1]})
        self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    def open(self, path):
        self.page.goto(self.address + path)
        if path.startswith(("/train", "/serve")):
            self.answered()
        else:
            self.page.locator("tbody tr").first.wait_for()
        return self.page

    def answered(self):
        self.page.locator("#answer[aria-busy=false]").wait_for()

    def drawn(self):
        self.page.locator(".main-svg").first.wait_for()

    @property
    def state(self):
        return parse_qs(urlsplit(self.page.url).query)

    def press_until(self, key, selector, most=80):
        """Press a key until the focus is there."""
        for _ in range(most):
            self.page.keyboard.press(key)
            if self.page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"{key} never reached {selector}")


@pytest.fixture
def visit(context, address):
    visits = []

    def make():
        visits.append(Visit(context, address))
        return visits[-1]

    yield make
    for each in visits:
        each.page.close()
        assert each.said == [], "the console is silent"
        assert each.outside == [], "nothing outside is asked"


@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_by_itself_at_every_width(visit, name):
    shown = visit()
    page = shown.open(PAGES[name])
    if name != "catalogue":
        shown.drawn()
    for width, scheme in ((WIDE, "light"), (NARROW, "dark")):
        shown.size(width, scheme)
        assert page.locator("h1").count() == 1 and page.locator("#problem").is_hidden()
        sizes = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert sizes[0] <= sizes[1], "nothing sticks out sideways"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')]"
        ".filter((each) => !each.labels?.length && !each.getAttribute('aria-label')).map((each) => each.id)"
    )
    assert unnamed == [], "every input has a label"
    assert page.evaluate("[...document.querySelectorAll('button')].every((each) => each.textContent.trim())")


def test_a_slider_moves_the_other_column_and_the_address(visit):
    shown = visit()
    page = shown.open(f"/train?{QUICK}")
    assert page.locator("#figures td.other:visible").count() == 0
    page.locator("#slider-chip-memory-bandwidth").fill("1")
    page.locator("#result.both").wait_for()
    shown.answered()
    assert shown.state["set"] == ["chip.memory.bandwidth*=2"]
    row = page.locator("#figures tbody tr", has_text="step time").first
    assert row.locator("td[data-head=change]").inner_text().startswith(("-", "\u2212"))
    assert row.locator(".basis").inner_text() in ("calibrated", "extrapolated")
    assert "--set 'chip.memory.bandwidth*=2'" in page.locator("#command").inner_text()
    again = visit().open("/train" + page.url.partition("/train")[2])
    assert again.locator("#changed-verdict").inner_text() == page.locator("#changed-verdict").inner_text()


def test_the_whole_question_is_asked_by_keyboard_alone(visit):
    shown = visit()
    page = shown.open(f"/train?{QUICK}")
    page.keyboard.press("Tab")
    assert page.locator(".skip:focus").count() == 1
    shown.press_until("Tab", "#field-devices")
    assert page.locator("#field-devices-help").is_visible(), "help shows with the focus"
    page.keyboard.press("Control+A")
    page.keyboard.type("128")
    shown.press_until("Tab", "#field-recompute")
    page.keyboard.press("ArrowDown")
    shown.press_until("Tab", "#slider-chip-memory-bandwidth")
    page.keyboard.press("ArrowRight")
    page.locator("#result.both").wait_for()
    shown.answered()
    page.locator("#baseline-verdict", has_text="128 x").wait_for()
    shown.press_until("Tab", "#copy-command")
    page.keyboard.press("Enter")
    page.locator("#status", has_text="Command copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#command").inner_text() and copied.startswith("gambrel whatif")
    assert shown.state["devices"] == ["128"]


def test_a_mistake_is_told_beside_its_field_and_mended(visit):
    shown = visit()
    page = shown.open(f"/train?{QUICK}")
    shown.said.clear()
    page.locator("#field-tp").fill("0")
    page.locator("#field-tp[aria-invalid=true]").wait_for()
    assert "tp = 0" in page.locator("#problem").inner_text()
    assert [text for text in shown.said if "422" not in text] == []
    page.locator("#field-tp").fill("4")
    page.locator("#problem[hidden]").wait_for(state="attached")
    shown.answered()
    assert page.locator("[aria-invalid]").count() == 0
    shown.said.clear()  # the browser itself notes an answer of 422


def test_a_simulation_shows_its_progress_and_is_cancelled(visit):
    shown = visit()
    shown.size(NARROW)
    page = shown.open(f"/serve?{SERVED}")
    page.locator("#field-requests").fill("50000000")
    page.locator("#cancel:not([hidden])").wait_for()
    assert page.locator("#progress").is_visible()
    page.locator("#cancel").click()
    page.locator("#status", has_text="Cancelled").wait_for()
    page.locator("#field-requests").fill("20")
    page.locator("#status", has_text="Answered").wait_for()


def test_what_matters_and_what_is_inside_are_drawn_on_demand(visit):
    shown = visit()
    page = shown.open(f"/train?{QUICK}")
    page.locator("#matters").click()
    page.locator("#tornado .main-svg").first.wait_for()
    page.locator("#inside").click()
    page.locator("#inside-charts .main-svg").first.wait_for()


def test_the_catalogue_is_searched_sorted_and_opened_by_keyboard(visit):
    shown = visit()
    page = shown.open("/catalogue")
    shown.press_until("Tab", "#filter")
    page.keyboard.type("tpu")
    page.locator("#status", has_text=" of ").wait_for()
    page.locator("#entries tbody tr", has_text="a100-sxm-80gb").wait_for(state="detached")
    shown.press_until("Tab", "[data-key=bandwidth] button")
    page.keyboard.press("Enter")
    assert page.locator("[data-key=bandwidth]").get_attribute("aria-sort") == "descending"
    shown.press_until("Tab", "#entries tbody tr:first-child a")
    page.keyboard.press("Enter")
    page.locator("#card:focus").wait_for()
    assert page.locator("#card-sources tr").count() > 0
    assert shown.state["id"] and shown.state["filter"] == ["tpu"]


def test_a_scenario_of_the_catalogue_fills_the_form(visit):
    shown = visit()
    page = shown.open(f"/train?{QUICK}")
    page.locator("#start option").nth(1).wait_for(state="attached")
    page.locator("#start").select_option("llama-3.1-405b-pretraining")
    page.locator("#baseline-verdict", has_text="405B").wait_for()
    assert shown.state["devices"] == ["16384"]


def test_the_theme_is_switched_and_kept(visit):
    shown = visit()
    page = shown.open("/accuracy")
    page.locator("[data-toggle-theme]").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    page.locator("html[data-theme=dark]").wait_for()
    page.evaluate("localStorage.clear()")
