"""`nas serve`: who is answered, what is served, and how a page follows a run in a real browser."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from nas.cli.find_recipe import recipe_named
from nas.run import Run
from nas.system.files import write_lines
from nas.system.progress import LOG
from tests.nas.cli.program import nas

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[3]
ALPHAS = {"cell.2<0": {"sep3": 0.6, "skip": 0.4}, "cell.2<1": {"sep3": 0.3, "skip": 0.7}}


def line(epoch: int) -> dict:
    decisions = {"cell.2": ["sep3@0", "skip@1"]}
    return {"epoch": epoch, "weight": {"total": 2.0 / (epoch + 1)}, "alphas": ALPHAS, "decisions": decisions}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two runs, one of which has searched for two epochs, and a file that is nobody's business."""
    folder = tmp_path_factory.mktemp("served") / "out"
    for name in ("one", "two"):
        Run(folder / name, "toy", replace(recipe_named("toy")[1], teacher=None)).note_recipe()
    (folder.parent / "secret.txt").write_text("SECRET")
    (folder / "one" / "report.html").write_text("<script>stranger()</script>")
    write_lines(folder / "one" / "search.history.jsonl", [line(0), line(1)])
    (folder / "one" / LOG).write_text("== 2026-01-02 03:04:05  nas search toy\nsearch 2/9  <b>loss</b> 1.0  eta 1:20\n")
    return folder


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of the pages of `folder`, and the process behind it."""
    command = [sys.executable, "-m", "nas", "serve", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        yield re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", said)[0], process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    with served(folder) as (address, _):
        yield address


def asked(address: str, path: str = "", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer; the path goes out as it is written."""
    parts = urlsplit(address)
    whole = path if path.startswith("/") else parts.path + path
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
        connection.request(method, whole, headers={"Host": parts.netloc} | headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def page_of(address: str, name: str) -> str:
    """The path of a run's page, as the list of runs links to it."""
    data = re.search(r'id="data">(.*?)</script>', asked(address, "runs/")[2])[1]
    row = next(row for row in json.loads(data)["runs"]["rows"] if row["name"] == name)
    return row["link"].removeprefix("../")


class TestServer:
    def test_a_folder_has_a_list_of_its_runs_and_each_run_its_page(self, address):
        status, headers, _ = asked(address)
        assert status == 302 and headers["Location"] == "runs/"
        status, headers, page = asked(address, page_of(address, "one"))
        assert status == 200 and "connect-src &#39;self&#39;" in page and "search 2/9" in page
        assert "<b>loss" not in page and "\\u003cb\\u003eloss" in page
        assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"

    def test_the_report_is_made_anew_and_never_the_file_that_lies_there(self, address):
        status, _, page = asked(address, page_of(address, "one") + "report")
        assert status == 200 and "stranger()" not in page and "Report of a run" in page

    @pytest.mark.parametrize("path", ["", "runs/", "runs/events", "run/0/"])
    def test_without_the_token_nothing_is_there(self, address, path):
        token = urlsplit(address).path.strip("/")
        for wrong in ("x" * len(token), token[:-1], token + "x", "", "%00", token.swapcase()):
            assert asked(address, f"/{wrong}/{path}")[0] == 404

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", ""])
    def test_under_another_name_nothing_is_answered(self, address, host):
        assert asked(address, "runs/", Host=host)[0] == 403

    def test_this_machines_other_name_is_its_own(self, address):
        assert asked(address, "runs/", Host=f"localhost:{urlsplit(address).port}")[0] == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_nothing_can_be_changed(self, address, method):
        assert asked(address, "runs/", method)[0] == 405

    @pytest.mark.parametrize(
        "path",
        [
            "../../secret.txt",
            "run/../../secret.txt",
            "run/..%2f..%2fsecret.txt/",
            "run/%2e%2e/",
            "run/one/",
            "run/one/config.json",
            "runs/../run/",
            "run/0123456789abcdef/",
            "run/0123456789abcdef/report",
            "run/0123456789abcdef/events",
        ],
    )
    def test_no_path_leads_to_a_file(self, address, path):
        status, _, body = asked(address, path)
        assert status == 404 and "SECRET" not in body

    def test_a_run_alone_and_ctrl_c(self, folder):
        with served(folder / "one") as (address, process):
            assert re.fullmatch(r"run/[0-9a-f]{16}/", asked(address)[1]["Location"])
            parts = urlsplit(address)
            with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as stream:
                stream.request("GET", f"{parts.path}runs/events")
                with stream.getresponse() as answer:
                    assert answer.readline().startswith(b'data: {"runs":')
                    since = time.monotonic()
                    process.send_signal(signal.SIGINT)
                    out, err = process.communicate(timeout=30)
            assert process.returncode == 0 and out == "" and err == "" and time.monotonic() - since < 20

    def test_what_cannot_be_served(self, tmp_path, address, capfd):
        assert nas("serve", tmp_path / "nowhere") == 2
        assert "is not a folder" in capfd.readouterr().err
        assert nas("serve", tmp_path, "--port", urlsplit(address).port) == 2
        assert "cannot be had (Address already in use): give --port another one" in capfd.readouterr().err


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install 'nas-reid[dev]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium brings it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page; what its console says of errors fails the test."""
    said, pages = [], []

    def open_page(address: str, **how: object):
        page = browser.new_page(**how)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


class TestInTheBrowser:
    def test_a_page_follows_its_run(self, folder, address, opened):
        page = opened(address + page_of(address, "one"))
        assert page.locator("#search output").inner_text() == "1 of 1"
        page.locator("#log").scroll_into_view_if_needed()
        assert page.locator(".log").inner_text().endswith("eta 1:20\n")
        write_lines(folder / "one" / "search.history.jsonl", [line(0), line(1), line(2)])
        with (folder / "one" / LOG).open("a") as log:
            log.write("search 3/9  loss 0.9  eta 1:10\n")
        page.locator("#search output", has_text="2 of 2").wait_for()
        page.locator(".log", has_text="search 3/9").wait_for()
        assert "search 3/9" in page.locator("header").inner_text()

    def test_what_a_reader_has_chosen_stays(self, folder, address, opened):
        write_lines(folder / "one" / "search.history.jsonl", [line(0), line(1), line(2)])
        page = opened(address + page_of(address, "one"))
        page.wait_for_selector("#search input[type=range]")
        page.evaluate(
            "() => { const slider = document.querySelector('#search input[type=range]'); slider.value = 0;"
            " slider.dispatchEvent(new Event('input')); }"
        )
        assert page.locator("#search output").inner_text() == "0 of 2"
        write_lines(folder / "one" / "search.history.jsonl", [line(0), line(1), line(2), line(3)])
        page.locator("#search output", has_text="0 of 3").wait_for()

    def test_the_list_is_sorted_and_filtered_and_shows_new_runs(self, folder, address, opened):
        page = opened(address, viewport={"width": 390, "height": 800})
        page.wait_for_selector(".runs tbody tr")
        page.locator(".runs th button", has_text="run").click()
        names = page.locator(".runs tbody th").all_inner_texts()
        assert names == sorted(names) and {"one", "two"} <= {*names}
        page.locator("input[type=search]").fill("two")
        assert page.locator(".runs tbody tr:visible").count() == 1
        Run(folder / "two and a half", "toy", replace(recipe_named("toy")[1], teacher=None)).note_recipe()
        page.locator(".runs tbody th", has_text="two and a half").wait_for()
        assert page.locator(".runs tbody tr:visible").count() == 2
        assert page.evaluate("document.activeElement.type") == "search"
        assert page.evaluate("document.documentElement.scrollWidth") == 390

    def test_the_end_of_the_server_is_said(self, folder, opened, browser):
        with served(folder / "two") as (address, process):
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector(".stages")
            process.kill()
            page.wait_for_selector(".gone:visible")
            page.close()
