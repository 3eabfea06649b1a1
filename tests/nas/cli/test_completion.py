"""What Tab completes, in bash and zsh themselves, at a terminal."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from nas.cli.commands import COMMANDS
from nas.cli.completion import flags, script
from nas.cli.find_recipe import recipes
from tests.nas.cli.program import nas

SHELLS = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}
READY = "ready to complete"


class Terminal:
    """A shell at a terminal, in a folder, with the script of the completion."""

    def __init__(self, shell: str, folder: Path):
        (folder / "nas.sh").write_text(script())
        self.terminal, its_end = pty.openpty()
        settings = os.environ | {"PS1": "> ", "TERM": "dumb", "HOME": str(folder)}
        where: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), its_end)
        self.shell = subprocess.Popen(SHELLS[shell], cwd=folder, env=settings, start_new_session=True, **where)
        os.close(its_end)
        os.write(self.terminal, f"source ./nas.sh; echo {READY[:5]}''{READY[5:]}\n".encode())
        self._read(READY)

    def complete(self, line: str, expected: str) -> str:
        """What stands behind the prompt after `line` and Tab, read until it ends in `expected` or nothing comes."""
        os.write(self.terminal, f"{line}\t".encode())
        seen = self._read(expected)
        os.write(self.terminal, b"\x15")  # clears the line
        return seen

    def _read(self, expected: str) -> str:
        seen = ""
        end = time.monotonic() + 20
        while expected not in seen and time.monotonic() < end:
            if select.select([self.terminal], [], [], 1)[0]:
                seen += os.read(self.terminal, 4096).decode(errors="replace")
        return re.sub(r"[\x07\r]", "", seen)


@pytest.fixture(params=list(SHELLS))
def terminal(request, tmp_path):
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param} here")
    (tmp_path / "a_folder").mkdir()
    terminal = Terminal(request.param, tmp_path)
    yield terminal
    terminal.shell.kill()
    terminal.shell.wait()
    os.close(terminal.terminal)


def test_tab(terminal):
    for line, completed in {
        "nas ret": "nas retrain ",
        "nas run street_de": "nas run street_demo ",
        "nas data ": "nas data check ",
        "nas data check mar": "nas data check market1501 ",
        "nas reproduce vrkd table3": "nas reproduce vrkd table3 ",
        "nas bench rerank --que": "nas bench rerank --queries ",
        "nas run demo --strategy nni:Gum": "nas run demo --strategy nni:GumbelDARTS ",
        "nas run demo --strategy=sing": "nas run demo --strategy=single_path ",
        "nas tune demo --parameters oim_": "nas tune demo --parameters oim_weight ",
        "nas draw a_f": "nas draw a_folder/",
    }.items():
        assert completed in terminal.complete(line, completed)


@pytest.mark.parametrize("word", [word for word, command in COMMANDS.items() if command.subject == "RECIPE"])
def test_flags_are_those_of_the_help(word, capsys):
    nas(word, "kdas", "--help")
    shown = re.findall(r"^  (--[\w.-]+)", capsys.readouterr().out, re.MULTILINE)
    assert len(shown) > 20 and set(shown) <= set(flags(word))


def test_recipes_and_commands_are_all_there():
    text = script()
    assert all(re.search(rf"\b{re.escape(word)}\b", text) for word in [*COMMANDS, *recipes()])


def test_other_shells(capfd):
    assert nas("completion", "fish") == 2
    assert "`nas completion` knows bash and zsh, not 'fish'" in capfd.readouterr().err
