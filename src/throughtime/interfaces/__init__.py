"""Floor 5. The command line, the report; drawing lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:
    from throughtime.interfaces.page import render as render
    from throughtime.interfaces.report import ReportData as ReportData
    from throughtime.interfaces.report import report_data as report_data

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ReportData": "throughtime.interfaces.report",
        "render": "throughtime.interfaces.page",
        "report_data": "throughtime.interfaces.report",
    },
)
