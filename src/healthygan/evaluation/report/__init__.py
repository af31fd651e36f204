"""The report of an evaluation as one HTML file that needs nothing else.

``numbers``, ``charts`` and ``pictures`` prepare what is shown; ``templates/`` says it in HTML.
"""

from healthygan.evaluation.report.page import write_report

__all__ = ["write_report"]
