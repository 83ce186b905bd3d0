"""Result x prices -> money, energy, carbon. What is not published is unknown, named, and never zero."""

from .bill import Bill, Usage, bill, device_hour, site_power

__all__ = ["Bill", "Usage", "bill", "device_hour", "site_power"]
