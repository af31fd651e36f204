"""A test set judged: metrics, controls, cases, and the HTML report.

``evaluate.evaluate`` is the way in; ``result.Evaluation`` is what it gives.
"""

from healthygan.evaluation.result import Case, Evaluation

__all__ = ["Case", "Evaluation"]
