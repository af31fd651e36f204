"""Many detectors, many seeds, one table.

Budgets, a process a training, the paper's own numbers beside ours.
"""

from healthygan.benchmark.budgets import Budget, Method, load_budget, plan
from healthygan.benchmark.results import Results

__all__ = ["Budget", "Method", "Results", "load_budget", "plan"]
