"""Images on their way in: who is in which split, how a file is decoded, and the decoded images on disk.

A ``Cohort`` names files, a ``Preprocessing`` brings them to one shape, an ``ImageStore`` keeps them.
"""

from healthygan.data.cohort import Cohort, CohortImage, Label, Split, load_cohort

__all__ = ["Cohort", "CohortImage", "Label", "Split", "load_cohort"]
