"""The program as `python -m nas`: by name, so that no file of the ground floor imports the top one."""

import sys
from pkgutil import resolve_name

if __name__ == "__main__":
    sys.exit(resolve_name("nas.cli.main:main")())
