"""Pages in a browser: no console error, no request beside the page's own files, no sideways scroll, both themes and paper."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.app.cli import run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}
TRAIN = "train --model llama-3.1-8b --cluster dgx-h100 --devices 32 --tp 2 --pp 2 --global-batch 64 --tokens 1e11 --faults --seeds 3"
SERVE = "serve --model llama-3.1-8b --cluster h100 --concurrency 4 --requests 12 --input-tokens 200 --output-tokens 20 --window 0.2s"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system."""
    pytest.importorskip("plotly")
    playwright = pytest.importorskip("playwright.sync_api")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on the path: install the system's package to run the browser tests")
    with playwright.sync_playwright() as made:
        opened = made.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages of a training and a serving run, one alone and one beside the shared script."""
    pytest.importorskip("plotly")
    folder = tmp_path_factory.mktemp("pages")
    for name, line, how in (("train", TRAIN, "--html"), ("serve", SERVE, "--folder")):
        assert run([*line.split(), "--out", str(folder / name)]) == 0
        assert run(["report", str(folder / name), how, "-o", str(folder / f"{name}.html")]) == 0
    return {name: folder / f"{name}.html" for name in ("train", "serve")}


@pytest.fixture
def opened(browser, pages):
    """Open a page; what it said and asked for is checked at the end."""
    errors: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(name: str, width: str = "desktop", theme: str = "light") -> Any:
        size = {"width": WIDTHS[width][0], "height": WIDTHS[width][1]}
        contexts.append(browser.new_context(viewport=size, color_scheme=theme))
        page = contexts[-1].new_page()
        page.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri())
        page.wait_for_function("document.querySelectorAll('.chart .main-svg').length > 0")
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = pages["train"].parent.as_uri()
    assert errors == []
    assert all(url.startswith((own, "data:", "blob:")) for url in asked), asked


@pytest.mark.parametrize(
    ("name", "width", "theme"),
    [
        ("train", "desktop", "light"),
        ("train", "phone", "dark"),
        ("serve", "desktop", "dark"),
        ("serve", "phone", "light"),
    ],
)
def test_a_page_shows_all_its_charts_and_never_scrolls_sideways(name, width, theme, opened):
    page = opened(name, width, theme)
    drawn, wanted = page.evaluate(
        "[document.querySelectorAll('.chart .main-svg').length, document.querySelectorAll('.chart').length]"
    )
    assert drawn >= wanted > 5
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
    clipped = page.evaluate(
        "[...document.querySelectorAll('.chart')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert clipped == 0


def test_the_button_switches_the_theme_of_words_and_charts(opened):
    page = opened("train")
    look = "[getComputedStyle(document.body).backgroundColor, document.querySelector('.chart .xtick text').style.fill]"
    before = page.evaluate(look)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    after = page.evaluate(look)
    assert before[0] != after[0] and before[1] != after[1]


def test_paper_is_light_and_holds_every_chart(opened):
    page = opened("train", theme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    widths = page.evaluate(
        "[...document.querySelectorAll('.chart .main-svg')].map(e => e.getBoundingClientRect().width)"
    )
    assert widths and max(widths) <= 42 * 16
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen", color_scheme="dark")
    assert page.evaluate("Gambrel.isDark()")
    assert page.pdf()[:4] == b"%PDF"
