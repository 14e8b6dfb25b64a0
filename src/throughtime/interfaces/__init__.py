"""Floor 5. The command line and the reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughtime._lazy import lazy

if TYPE_CHECKING:
    from throughtime.interfaces.doctor_page import Checkup as Checkup
    from throughtime.interfaces.doctor_page import render_diagnosis as render_diagnosis
    from throughtime.interfaces.page import render as render
    from throughtime.interfaces.report import ReportData as ReportData
    from throughtime.interfaces.report import report_data as report_data
    from throughtime.interfaces.tuning_page import Search as Search
    from throughtime.interfaces.tuning_page import render_tuning as render_tuning

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Checkup": "throughtime.interfaces.doctor_page",
        "ReportData": "throughtime.interfaces.report",
        "Search": "throughtime.interfaces.tuning_page",
        "render": "throughtime.interfaces.page",
        "render_diagnosis": "throughtime.interfaces.doctor_page",
        "render_tuning": "throughtime.interfaces.tuning_page",
        "report_data": "throughtime.interfaces.report",
    },
)
