"""What README and the manual show."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[3]
MANUAL = ROOT / "nas/docs/pages"
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted(MANUAL.rglob("*.md")))}
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The arguments of the program's commands in a page's blocks, in their order, without what a shell does with what
    they print."""
    lines = "".join(BLOCK.findall(page.read_text())).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.partition(">")[0], comments=True) for line in lines]
    return [arguments for program, *arguments in filter(None, words) if program == "nas"]
