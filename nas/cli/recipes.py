"""`nas recipes`: the toolkit's recipes, one line each."""

from __future__ import annotations

import json

from nas.cli.find_recipe import recipes

USAGE = """usage: nas recipes [--json]

Lists the toolkit's recipes, one line each: what a recipe is, and what its paper reports (rank-1 / mAP in %).
--json prints them as JSON, by name.

Example: nas recipes
`nas run RECIPE --help` lists a recipe's flags."""


def main(arguments: list[str]) -> int:
    """Runs `nas recipes ARGUMENTS`; the exit status. No recipe's module is imported."""
    if unknown := [word for word in arguments if word not in ("--json", "-h", "--help")]:
        raise ValueError(f"`nas recipes` takes --json and nothing else, not {' '.join(unknown)}")
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    lines = {name: listed.line for name, listed in recipes().items()}
    width = max(map(len, lines))
    if "--json" in arguments:
        print(json.dumps(lines, indent=2))
    else:
        print("\n".join(f"{name:<{width}}  {line}" for name, line in lines.items()))
    return 0
