"""What the server refuses: foreign names, foreign sites, large bodies, paths outside, files, classes, floods, runaways."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from sim.app.page.guard import MOST_BODY_BYTES
from sim.app.page.workers import Failure, Pool

from .asking import ENDLESS, SERVING, TRAINING, answer_of, until

STEP = {"scenario": TRAINING}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.7", "", "localhost@evil.example"]
)
def test_a_name_bound_to_this_machine_by_somebody_else_is_refused(client, host):
    answer = client.get("/train", headers={"host": host})
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost:8421", "127.0.0.1", "[::1]:9"])
def test_loopback_names_pass_on_any_port(client, host):
    assert client.get("/api/v1/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{host}", "http://{host}.evil.example"]
)
def test_another_site_may_not_ask(client, address, origin):
    given = origin.format(host=address.removeprefix("http://"))
    for answer in (
        client.post("/api/v1/steps", json=STEP, headers={"origin": given}),
        client.get("/api/v1/status", headers={"origin": given}),
        client.delete("/api/v1/runs/x", headers={"origin": given}),
    ):
        assert answer.status_code == 403 and answer.json()["error"]["kind"] == "refused"


def test_the_page_itself_may_ask(client, address):
    assert client.post("/api/v1/steps", json=STEP, headers={"origin": address}).status_code == 200


def test_requests_across_sites_reach_no_api(client):
    assert client.get("/api/v1/status", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/train", headers={"sec-fetch-site": "cross-site"}).status_code == 200  # a link


def test_forms_of_other_sites_cannot_post(client):
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
    assert {
        client.post("/api/v1/steps", content=b"{}", headers={"content-type": kind}).status_code for kind in kinds
    } == {415}


def test_a_large_body_is_refused_whether_or_not_it_says_so(client):
    large = b'{"scenario": "' + b"x" * MOST_BODY_BYTES + b'"}'
    headers = {"content-type": "application/json"}
    assert client.post("/api/v1/steps", content=large, headers=headers).status_code == 413
    pieces = (large[i : i + 65_536] for i in range(0, len(large), 65_536))
    assert client.post("/api/v1/steps", content=pieces, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "path", ["/assets/x/..%2f..%2fserver.py", "/..%2f..%2fetc%2fpasswd", "/assets/%2e%2e/pages.py", "/nope", "/docs"]
)
def test_no_path_leads_out_of_the_folders(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("model", "/etc/passwd"),
        ("model", "../x.yaml"),
        ("model", "config.json"),
        ("cluster", "mine.yaml"),
        ("stack", "mine.yaml"),
        ("engine", {"scheduler": "os.path.PurePath"}),
        ("engine", {"speculative": {"method": "draft", "tokens": 2, "acceptance": 0.5, "draft_model": "x.yaml"}}),
        ("router", "os.path.PurePath"),
        ("economy", {"grid": "/etc/passwd"}),
        ("campaign", {"sacct": "/etc/passwd"}),
        ("demand", {"kind": "traffic", "trace": "/etc/passwd"}),
        ("demand", {"kind": "traffic", "generator": "../x.yaml"}),
        (
            "demand",
            {
                "kind": "traffic",
                "rate_requests_per_s": 1,
                "input_tokens": 9,
                "output_tokens": 9,
                "models": ["../x.yaml=1"],
            },
        ),
    ],
)
def test_no_request_names_a_file_or_a_class(client, where, value):
    run = answer_of(client, {"scenario": {**SERVING, where: value}})
    assert run["state"] == "failed" and run["error"]["kind"] == "input", run


@pytest.mark.parametrize(
    "change",
    [
        "groups.0.model=/etc/passwd",
        "engine.scheduler=os.path.PurePath",
        "demand.trace=/etc/passwd",
        "economy.grid=/etc/passwd",
    ],
)
def test_no_change_names_a_file_or_a_class(client, change):
    answer = answer_of(client, {"scenario": SERVING, "changes": [change]})["answer"]
    assert answer["changed"] is None and answer["problem"]["kind"] == "input", answer["problem"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"scenario": {}}',
        b'{"scenario": {"groups": 3}}',
        b'{"scenario": {"groups": [[]]}}',
        b'{"scenario": 1e999}',
        b'{"scenario": {"role": "train", "model": "x", "cluster": "y", "plan": {"tp": NaN}}}',
        b"[" * 100_000,
        b'{"scenario": {}, "more": 1}',
        b'{"scenario": {"role": ["train"], "model": {}, "cluster": 7}}',
        b'{"scenario": {"role": "train"}, "changes": ["x"]}',
        b"\xff\xfe",
    ],
)
def test_nonsense_is_answered_in_one_line(client, body):
    answer = client.post("/api/v1/steps", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "\n" not in answer.json()["error"]["message"]


def test_a_browser_may_do_little_with_an_answer(client):
    for path in ("/train", "/api/v1/status", "/nope"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")


def test_it_listens_on_loopback_alone():
    from sim.app.ui import bound

    with bound(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_one_line(capsys):
    from sim.app.cli import run

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["ui", "--no-browser", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"--port {port} is in use" in said


def test_a_missing_extra_is_one_line(capsys, monkeypatch):
    from sim.app import ui
    from sim.app.cli import run

    monkeypatch.setattr(ui, "NEEDED", ("fastapi", "no_such_package"))
    assert run(["ui", "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'gambrel[ui]'" in said and "no_such_package" in said


def test_a_simulation_is_cancelled_and_others_go_on(client):
    run = client.post("/api/v1/runs", json={"scenario": ENDLESS}).json()
    path = f"/api/v1/runs/{run['id']}"
    assert client.post("/api/v1/steps", json=STEP).status_code == 200
    client.delete(path)
    over = until(lambda: (now := client.get(path).json())["state"] not in ("queued", "running") and now)
    assert over["state"] == "cancelled"
    assert answer_of(client, {"scenario": SERVING})["state"] == "done"


def test_a_listener_that_goes_away_cancels_its_simulation(client):
    run = client.post("/api/v1/runs", json={"scenario": ENDLESS}).json()
    path = f"/api/v1/runs/{run['id']}"
    with client.stream("GET", f"{path}/events") as stream:
        next(stream.iter_lines())
    assert until(lambda: client.get(path).json()["state"] == "cancelled")


def test_too_many_simulations_are_turned_away_and_steps_still_answered(client):
    runs = [client.post("/api/v1/runs", json={"scenario": ENDLESS}) for _ in range(9)]
    assert {run.status_code for run in runs} == {202, 503}
    assert client.post("/api/v1/steps", json=STEP).status_code == 200
    for run in runs:
        if run.status_code == 202:
            client.delete(f"/api/v1/runs/{run.json()['id']}")
    assert until(lambda: client.get("/api/v1/status").json()["runs_in_flight"] == 0)


@pytest.fixture(scope="module")
def small_pool():
    pool = Pool(1, 0.5, 0, None)
    pool.start()
    yield pool
    pool.close()


def ask(pool, scenario):
    pool.enter()
    try:
        return pool.ask({"scenario": scenario}, threading.Event(), lambda share, what: None)
    finally:
        pool.leave()


def test_what_runs_too_long_is_ended_and_the_next_one_answered(small_pool):
    with pytest.raises(Failure) as failure:
        ask(small_pool, ENDLESS)
    assert failure.value.problem["kind"] == "limit"
    small_pool.limit_s = 300.0
    assert b'"gambrel.page-compare/1"' in ask(small_pool, SERVING)


def test_a_process_that_dies_is_replaced(small_pool):
    small_pool.limit_s = 300.0
    (worker,) = until(lambda: [each for each in small_pool.workers if each.warm])
    worker.process.kill()
    worker.process.join()
    with pytest.raises(Failure):
        ask(small_pool, SERVING)
    assert b'"gambrel.page-compare/1"' in ask(small_pool, SERVING)


def test_a_full_queue_says_so(small_pool):
    small_pool.enter()
    with pytest.raises(Failure, match="Try again"):
        small_pool.enter()
    small_pool.leave()


def test_the_server_itself_loads_no_compiled_code():
    code = (
        "import sys\nfrom sim.app.page.server import build\nfrom sim.app.page.pages import render\nbuild(), render('train')\n"
        "from sim.app.page import browse, forms, hardware\nbrowse.accuracy(), forms.form('train')\n"
        "from sim.catalog.library import Library\nhardware.hardware(Library(), 'h100', None, 'train')\n"
        "print([name for name in ('numba', 'scipy', 'polars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
