"""Published data sets and any other folders or tables, brought to a manifest.

One file a protocol; each ends in ``prepared.write`` with a record of what was done.
"""

from healthygan.data.datasets.prepared import Prepared

__all__ = ["Prepared"]
