"""What a run found, on one page: tables, drawings and curves, made from the files in the run's folder alone."""

from nas.report.page import write_report
from nas.report.strips import strip
from nas.report.table import as_markdown, as_rich, result_table

__all__ = ["as_markdown", "as_rich", "result_table", "strip", "write_report"]
