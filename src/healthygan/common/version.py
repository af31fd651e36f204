"""The version of this package, as it is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("healthygan")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"
