"""The toolkit that finds small, fast re-identification networks."""

PACKAGE = "nas-reid"
"""What pip calls it."""


def __getattr__(name: str) -> str:
    """`__version__`, as the installed package has it. Raises PackageNotFoundError where none is installed."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # which every command would wait for

    return version(PACKAGE)
