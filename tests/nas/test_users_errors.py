"""How a process ends: whose an error is, and what is said of it."""

import importlib.util
from functools import partial

import pytest

from nas.errors import exit_status, near_misses
from search_spaces.architecture import Architecture


@pytest.fixture
def ended(tmp_path, monkeypatch, capsys):
    """Runs `work` of a user's file `own.py` with a body; the status, and the lines on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(body: str) -> tuple[int, list[str]]:
        (tmp_path / "own.py").write_text(f"def work(given=None):\n    {body}\n")
        spec = importlib.util.spec_from_file_location("own", tmp_path / "own.py")
        own = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(own)
        status = exit_status(own.work)
        return status, capsys.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {}['x']", "KeyError: 'x'"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("import torch; torch.ones(2) + torch.ones(3)", "RuntimeError: The size of tensor a"),
        ("from search_spaces.pick import Fixed; Fixed().value(1, 2, 3, 4)", "TypeError: "),
        ("import sys; sys.exit(0)", "it ends the program (SystemExit: 0)"),
        ("raise Exception('a\\x1b[31m\\nb')", "Exception: a"),
    ],
)
def test_what_a_users_file_raises_is_its_own(ended, body, said):
    status, lines = ended(body)
    assert status == 2 and lines[-1].startswith(f"nas: own.py, line 2: {said}")
    shown = [line for line in lines if line.startswith("  File ")]
    assert shown[0].endswith('own.py", line 2, in work') and not any("/nas/errors.py" in line for line in shown)


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('there must be\\n two')",
        "from search_spaces.architecture import Architecture; Architecture.from_dict([1])",
    ],
)
def test_what_a_user_can_mend_is_one_line_that_names_the_file(ended, body):
    status, (line,) = ended(body)
    assert status == 2 and line.startswith("nas: own.py, line 2: ")


def test_the_toolkits_own_messages_name_no_file(capsys):
    assert exit_status(partial(Architecture.from_dict, [1])) == 2
    assert capsys.readouterr().err.startswith("nas: an architecture is")


def test_a_fault_of_the_toolkit_stays_a_traceback_and_is_called_one(capsys):
    with pytest.raises(TypeError):
        exit_status(partial(near_misses, "name", None))
    assert "nas: TypeError: " in (said := capsys.readouterr().err) and "bug in the toolkit" in said
