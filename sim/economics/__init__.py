"""Result x prices -> money, energy, carbon. What is not published is unknown, named, and never zero."""

from .bill import (
    JOULES_PER_KWH,
    Bill,
    Usage,
    bill,
    bill_figures,
    device_hour,
    host_share_w,
    site_power,
    spread_of,
    together,
)

__all__ = [
    "JOULES_PER_KWH",
    "Bill",
    "Usage",
    "bill",
    "bill_figures",
    "device_hour",
    "host_share_w",
    "site_power",
    "spread_of",
    "together",
]
