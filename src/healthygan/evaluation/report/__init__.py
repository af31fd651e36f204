"""The report of an evaluation as one HTML file that needs nothing else.

Numbers, charts and pictures of cases, each made in a file of its own.
"""

from healthygan.evaluation.report.page import write_report

__all__ = ["write_report"]
