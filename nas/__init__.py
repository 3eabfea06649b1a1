"""The toolkit that finds small, fast re-identification networks."""

__version__ = "0.2.0"
