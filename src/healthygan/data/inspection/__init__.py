"""A look at a cohort before training: counts, faults, shortcuts, a contact sheet.

Also the shallow controls that every evaluation shows beside a detector.
"""

from healthygan.data.inspection.inspect import Inspection, inspect_cohort

__all__ = ["Inspection", "inspect_cohort"]
