"""Rows to figures, tables, verdicts and the page; free of torch."""
