"""A page to look at: queries, the clips that help them most and least, and what the run was."""

from motive.reporting.build import Report, report
from motive.reporting.config import ReportConfig

__all__ = ["Report", "ReportConfig", "report"]
