"""What the documents say of routers and schedulers of one's own is so: their files are short, run, and do what they claim."""

import re
from pathlib import Path

import numpy as np
import pytest

from sim.catalog.traffic import Requests
from sim.serving.pools import Fleet
from sim.serving.run import simulate

from .parts import Constant, packed, random_requests

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
FILE = re.compile(r"^`([^`]+\.py)`\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The files of a document, importable; returns them by name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(document):
        files = dict(FILE.findall((HOW_TO / document).read_text(encoding="utf-8")))
        for name, content in files.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        return files

    return write


def test_a_router_is_one_short_file_that_routes_as_it_says(shown):
    files = shown("write-a-router.md")
    assert all(len(content.splitlines()) < 40 for content in files.values())
    requests = random_requests(2)
    given = requests.input_tokens * 10
    long = Requests("long", requests.arrival_s, given, requests.output_tokens)
    served = simulate(packed(longest=8192, kv_blocks=4000), long, Fleet(3, "long_apart.LongApart"))
    assert served.finished.all()
    assert set(served.replica[given >= 4000].tolist()) == {2}
    assert set(served.replica[given < 4000].tolist()) == {0, 1}
    drawn = simulate(packed(), requests, Fleet(3, "dice.Dice"), seed=1)
    assert set(drawn.replica.tolist()) == {0, 1, 2}


def test_a_scheduler_is_one_short_file_that_serves_the_shortest_first(shown):
    files = shown("write-a-scheduler.md")
    assert all(len(content.splitlines()) < 40 for content in files.values())
    given = np.array([500, 400, 30, 200], np.int32)
    requests = Requests("four", np.zeros(4), given, np.full(4, 3, np.int32))
    served = simulate(packed(Constant(1.0), scheduler="shortest_first.ShortestFirst"), requests)
    assert np.argsort(served.first_token_s).tolist() == [2, 3, 1, 0]
    scarce = simulate(packed(scheduler="shortest_first.ShortestFirst", kv_blocks=60), random_requests(2))
    assert scarce.finished.all() and scarce.preemptions.sum() > 0
