"""Generated stand-ins for chest X-rays and brain slices, with known lesions.

They hold no patient's data, so that a demonstration and the tests can run anywhere.
"""

from healthygan.data.datasets.phantoms.generate import Phantom, make_phantom, write_cohort

__all__ = ["Phantom", "make_phantom", "write_cohort"]
