"""An export of `sacct -P` gives device-hours a failure."""

from __future__ import annotations

import pytest

from sim.errors import InputError
from sim.training.sacct import read_sacct

EXPORT = """JobID|Elapsed|State|AllocTRES
1|1-00:00:00|COMPLETED|billing=8,gres/gpu=8,node=1
1.0|1-00:00:00|COMPLETED|gres/gpu=8,node=1
2|02:30:00|NODE_FAIL|cpu=4,gres/gpu:a100=16,node=2
3|30:00|FAILED|gres/gpu=4
4|10:00|CANCELLED by 1000|gres/gpu=6
5|10:00:00|NODE_FAIL|cpu=64,node=1
"""


def test_jobs_with_chips_count_once_and_by_how_they_ended(tmp_path):
    path = tmp_path / "jobs.txt"
    path.write_text(EXPORT)
    found = read_sacct(path)
    assert found.device_hours == pytest.approx(8 * 24 + 16 * 2.5 + 4 * 0.5 + 1)
    assert (found.node_fail, found.failed) == (1, 1)
    assert found.mtbf_s() == pytest.approx({"node_fail": 235 * 3600.0, "failed": 235 * 3600.0})


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("JobID|State\n", "no column Elapsed"),
        ("JobID|Elapsed|State|AllocTRES\n1|soon|FAILED|gres/gpu=8\n", "'soon' is not"),
        ("JobID|Elapsed|State|AllocTRES\n1|10:00|FAILED|node=1\n", "no job with chips"),
    ],
)
def test_what_is_no_export_is_refused_with_a_remedy(tmp_path, text, wrong):
    path = tmp_path / "jobs.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=wrong):
        read_sacct(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read"):
        read_sacct(tmp_path / "none.txt")
