"""The version of the package."""

__version__ = "0.1.1.dev0"
