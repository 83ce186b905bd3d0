"""Result x prices -> money, energy, carbon. What is not published is unknown, named, and never zero."""

from .bill import Bill, Usage, bill, bill_figures, device_hour, site_power, spread_of, together

__all__ = ["Bill", "Usage", "bill", "bill_figures", "device_hour", "site_power", "spread_of", "together"]
