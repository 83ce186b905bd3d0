"""The price table: every row of the catalogue's, what a malformed one is answered with, and whose table is read."""

from __future__ import annotations

import pytest

from sim.catalog.library import Library, package_root
from sim.catalog.prices import COLUMNS, price_of, prices_of, read_prices
from sim.errors import InputError, UnknownFigure

LIBRARY = Library(package_root())
HEADER = ",".join(COLUMNS)
ROW = "l40s,me,rack,owned,here,2026-11,0.9,read,invoice"


def table(root, *rows, header=HEADER):
    path = root / "devices" / "prices.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_every_offer_names_a_chip_and_its_source():
    offers = read_prices(package_root() / "devices" / "prices.csv")
    assert len(offers) == 41
    for offer in offers:
        assert LIBRARY.chip(offer.chip).id == offer.chip
        assert 0.1 < offer.usd_per_device_hour < 20
        assert offer.source and offer.date and offer.confidence


def test_an_instance_costs_its_chips_together():
    for name, chip in (
        ("p5-48xlarge", "p5.48xlarge"),
        ("trn1-32xlarge", "trn1.32xlarge"),
        ("inf2-48xlarge", "inf2.48xlarge"),
    ):
        cluster = LIBRARY.cluster(name)
        offers = [
            offer for offer in prices_of(LIBRARY, cluster.chip) if offer.instance == chip and offer.term == "on_demand"
        ]
        per_node = min(offer.usd_per_device_hour for offer in offers) * cluster.chips_per_node
        assert cluster.usd_per_node_hour == pytest.approx(per_node, rel=1e-4)


def test_the_cheapest_offer_of_a_term_is_taken():
    assert price_of(LIBRARY, "h100-sxm").provider == "lambda"
    assert price_of(LIBRARY, "tpu-v5p", "3yr_commit").usd_per_device_hour == 1.89
    assert price_of(LIBRARY, "gb200").term == "capacity_block_or_reserved"


def test_a_chip_without_an_offer_is_unknown_and_says_what_to_do():
    with pytest.raises(UnknownFigure, match=r"price\.mtia-2i\.on_demand is unknown\. Give --usd-per-device-hour"):
        price_of(LIBRARY, "mtia-2i", "on_demand")


def test_a_users_table_adds_to_the_packages_and_may_use_an_alias(tmp_path):
    table(tmp_path, ROW, ROW.replace("l40s", "H100").replace("0.9", "1.5"))
    library = Library(tmp_path)
    assert price_of(library, "h100-sxm", "owned").usd_per_device_hour == 1.5
    assert price_of(library, "tpu-v5p").usd_per_device_hour == 4.2


@pytest.mark.parametrize(
    ("row", "line", "words"),
    [
        (ROW.replace("0.9", "-1"), 2, "usd_per_device_hour = '-1' is not a positive number"),
        (ROW.replace("0.9", "nan"), 2, "not a positive number"),
        (ROW.replace("0.9", "two"), 2, "'two'"),
        (ROW.replace("owned", "hired"), 2, r"term = 'hired' is not known\. Use one of on_demand"),
        (ROW.replace("invoice", ""), 2, "source is empty"),
        ("l40s,me", 2, "term is empty"),
    ],
)
def test_a_malformed_row_is_refused_with_file_line_and_remedy(tmp_path, row, line, words):
    with pytest.raises(InputError, match=rf"prices\.csv:{line}: .*{words}"):
        read_prices(table(tmp_path, row))


def test_a_table_without_a_column_or_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="the column source is missing"):
        read_prices(table(tmp_path, header=HEADER.removesuffix(",source")))
    with pytest.raises(InputError, match="cannot be read"):
        read_prices(tmp_path / "nothing.csv")
