"""What the tests of the page share: a client inside the process, and a server with a browser."""

from __future__ import annotations

import shutil
import threading
from importlib.util import find_spec

import pytest

from .asking import PATIENCE_S, until

ASKED = "browser tests of the page need Chromium: apt-get install chromium (CONTRIBUTING.md), then run them again"


def pytest_terminal_summary(terminalreporter):
    """Said at the end of a run that left the browser out."""
    left = [report for report in terminalreporter.stats.get("skipped", ()) if ASKED in str(report.longrepr)]
    if left:
        terminalreporter.write_line(f"{len(left)} browser tests of the page were left out: no Chromium here.")


@pytest.fixture(scope="session")
def application():
    """The page's application with its processes; one for all tests."""
    from sim.app.page.server import Limits, build

    app = build(limits=Limits(step_s=60.0, run_s=300.0))
    yield app
    app.state.service.stop()


@pytest.fixture(scope="session")
def address(application):
    """Where a real server listens on loopback, until the tests are over."""
    import uvicorn

    from sim.app.ui import bound

    listening = bound(0)
    config = uvicorn.Config(application, log_level="warning", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    service = application.state.service
    until(lambda: service.steps.warm and service.simulations.warm)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20.0)
    listening.close()


@pytest.fixture(scope="session")
def client(address):
    """Asks the API as anyone may."""
    import httpx

    with httpx.Client(base_url=address, timeout=PATIENCE_S) as asking:
        yield asking


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; the tests are left out where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None or find_spec("playwright") is None:
        pytest.skip(ASKED)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        nowhere = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"  # what is not loopback comes to nothing
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", nowhere])
        yield started
        started.close()


@pytest.fixture(scope="session")
def context(browser, address):
    """One profile for all pages, so that scripts are fetched and compiled once."""
    made = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    made.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    made.set_default_timeout(PATIENCE_S * 1e3)
    yield made
    made.close()
