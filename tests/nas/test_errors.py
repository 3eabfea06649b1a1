"""How the program ends, and what it says and does not say of it."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import PEER_GONE, exit_status, without_secrets

ROOT = Path(__file__).parents[2]
GOES_ON = "nas: stopped; the same command resumes from the last checkpoint\n"


def program(code: str, *redirections: str) -> subprocess.CompletedProcess:
    """A process of the program whose work is `code`, started by a shell."""
    code = f"import signal, sys; from nas.errors import exit_status\ndef work():\n  {code}\nsys.exit(exit_status(work))"
    command = ["sh", "-c", f'exec "$0" -c "$1" {" ".join(redirections)}', sys.executable, code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_end_it_with_a_line_and_their_status(capfd, name, status):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may ignore it
    try:
        assert exit_status(lambda: signal.raise_signal(number)) == status
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert capfd.readouterr().err == GOES_ON


def test_a_warning_that_comes_again_is_said_once():
    again = "with warnings.catch_warnings(): warnings.simplefilter('ignore')"  # after it Python forgets what was said
    ended = program(
        f"import warnings\n  for word in ('this', 'that', 'this'):\n    {again}\n    warnings.warn(f'of {{word}}')"
    )
    assert ended.stderr == "nas: warning: of this\nnas: warning: of that\n"


@pytest.mark.parametrize(
    "said",
    [
        "gloo/pair.cc:561] Connection closed by peer [::1]:3",
        "gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 2000ms for recv operation to complete",
        "NCCL error: remote process exited",
        "Timed out after 1801 seconds waiting for clients. 1/2 clients joined.",
    ],
)
def test_a_lost_process_of_a_training_is_a_line(capfd, said):
    def lose():
        raise RuntimeError(said)

    assert exit_status(lose) == 2
    assert capfd.readouterr().err == f"nas: {PEER_GONE}\n"


def test_a_second_signal_ends_it_at_once():
    twice = "\n  ".join(
        ["try: signal.raise_signal(signal.SIGTERM)", "finally: signal.raise_signal(signal.SIGTERM); print('on')"]
    )
    ended = program(twice)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGTERM, "", "")


def test_an_ignored_signal_stays_ignored():
    ended = subprocess.run(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c",
         "import signal; from nas.errors import PEER_GONE, exit_status;"
         "print(exit_status(lambda: signal.raise_signal(signal.SIGHUP)))"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout == "0\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "run/x"), "nas: run/x: Permission denied. "),
        (OSError(errno.ENOSPC, "No space left on device", "run/x"), "nas: run/x: the disk is full"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "nas: x: File name too long. "),
        (OSError("device gone"), "nas: device gone. "),
    ],
)
def test_what_the_system_refuses_is_one_line(capfd, error, said):
    def work():
        raise error

    assert exit_status(work) == 2
    text = capfd.readouterr().err
    assert text.startswith(said) and text.endswith("resumes\n") and text.count("\n") == 1


def test_a_full_output_is_one_line():
    ended = program("print('x' * 10)", "> /dev/full")
    assert ended.returncode == 2 and ended.stderr.startswith("nas: the disk is full") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&- 2>&-", "2>&-"])
def test_closed_streams_are_nobodys_files(tmp_path, closed):
    ended = program(f"print('x'); print('y', file=sys.stderr); open({str(tmp_path / 'z')!r}, 'w').write('z')", closed)
    assert ended.returncode == 0
    assert (tmp_path / "z").read_text() == "z"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:SECRET@host:5432/study",
        "postgresql+psycopg://user:SEC%40RET:1@host/study",
        "mysql://user:SEC RET@host",
        "redis://:SECRET@host/0",
        "postgresql://user:SE/CR@ET@host",
        "postgresql://user:123456SECRET@host",
        "postgresql://host/study?user=u&password=SECRET&x=1",
        "postgresql://host/study?sslpassword=SECRET",
        "PGPASSWORD=SECRET",
        "DB_Secret=SECRET",
    ],
)
def test_secrets_are_not_said(capfd, text):
    def work():
        raise ValueError(f"{text} cannot be reached")

    assert exit_status(work) == 2
    said = capfd.readouterr().err
    assert "***" in said and "cannot be reached" in said
    assert not any(part in said for part in ("SEC", "RET", "SE/", "123456"))


@pytest.mark.parametrize("text", ["--space.num-tokens=4", "http://127.0.0.1:8080/ until x@y", "postgresql://u@h:1/d"])
def test_what_is_no_secret_is_said(text):
    assert without_secrets(text) == text


def test_the_working_folder_may_be_gone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = 'cd "$1" && rmdir "$1" && "$0" -P -m nas show runs/x'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and ended.stderr.startswith("nas: ") and ended.stderr.count("\n") == 1
