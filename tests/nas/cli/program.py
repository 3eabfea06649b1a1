"""The program as the tests call it."""

from nas.cli.main import main


def nas(*arguments: object) -> int:
    """The program's exit status."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code
