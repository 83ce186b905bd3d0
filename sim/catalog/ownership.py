"""What owning a chip costs besides its price. Amounts that are none are written as 0; nothing is zero by itself."""

from __future__ import annotations

from pydantic import Field

from .records import NotNegative, Positive, Record, Share


class Owned(Record):
    """Terms of one chip with its share of server, network and site. Cooling is in the PUE, electricity in usd_per_kwh."""

    purchase_usd: Positive = Field(description="a chip with its share of server and network")
    life_years: Positive = Field(description="until it is sold or scrapped")
    discount_rate: NotNegative = Field(description="a year; what money costs")
    residual_share: Share = Field(description="of the purchase that its sale brings at the end")
    staff_usd_per_year: NotNegative = Field(description="a chip's share of those who run it")
    maintenance_share: NotNegative = Field(description="of the purchase, a year: repair and support contracts")
    space_usd_per_kw_month: NotNegative = Field(
        description="of provisioned power: building, cooling plant, power feeds"
    )
    spare_share: NotNegative = Field(description="spares bought for each chip in use")
    busy_share: float = Field(gt=0, le=1, allow_inf_nan=False, description="of all hours in which a chip is in use")
