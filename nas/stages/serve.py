"""`nas serve`: pages on this machine that follow runs and studies while they are worked at.

Only those who know the address, with a token that nobody can guess, are answered, and only under this machine's own
name: a page of a stranger, whose name he has pointed here, is not. Nothing can be changed. No file is served as it is;
each page is made from what this toolkit reads of a run's folder, and a run is known by a name that says no path.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from nas.report.page import report_page, templates
from nas.report.runs import index_data, index_page
from nas.stages.follow import TRAINING, page_data, title_of
from nas.stages.list_runs import CONFIG, find_runs, list_runs
from nas.study.place import NOTE

HOST = "127.0.0.1"
POLL_S = 1.0
"""Between looks at a run's files."""
INDEX_POLL_S = 3.0
QUIET_S = 15.0
"""After which a browser that nothing is told is asked whether it is still there."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The address has the token: no other site is told of it, and nobody frames a page or keeps it."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Look = Callable[[], Mapping[str, Any]]
"""Gives what a page draws now."""


class Site:
    """The pages of a run, or of a folder of runs."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError when there is no such folder."""
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder: `nas serve` takes that of a run or a study, or one of many")
        self.folder = folder
        self.token = secrets.token_urlsafe(24)
        self.closing = asyncio.Event()
        self._known: dict[str, Path] = {}
        self._drawing = asyncio.Lock()

    def application(self, port: int) -> web.Application:
        app = web.Application(middlewares=[guard(self.token, port)])
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/{token}/", self.first)
        app.router.add_get("/{token}/runs/", self.index)
        app.router.add_get("/{token}/runs/events", self.index_events)
        app.router.add_get("/{token}/run/{run}/", self.page)
        app.router.add_get("/{token}/run/{run}/events", self.events)
        app.router.add_get("/{token}/run/{run}/report", self.report)
        return app

    async def first(self, request: web.Request) -> web.StreamResponse:
        """The page of the run or study that was asked for, or the list of those below the folder."""
        is_run = (self.folder / CONFIG).is_file() or (self.folder / NOTE).is_file()
        raise web.HTTPFound(f"run/{self._name(self.folder)}/" if is_run else "runs/")

    async def index(self, request: web.Request) -> web.StreamResponse:
        runs = await asyncio.to_thread(self._runs)
        return _html(index_page(runs, self.folder, {"events": "events"}))

    async def index_events(self, request: web.Request) -> web.StreamResponse:
        return await self._tell(request, lambda: {"runs": self._runs()}, INDEX_POLL_S)

    async def page(self, request: web.Request) -> web.StreamResponse:
        folder = await self._run(request)
        data = await asyncio.to_thread(page_data, folder)
        page = (
            templates()
            .get_template("live.html")
            .render(
                title=title_of(folder),
                index="../../runs/",
                has_report=(folder / CONFIG).is_file() and not (folder / NOTE).is_file(),
                stages=TRAINING,
                data=data | {"live": {"events": "events"}},
                live=True,
            )
        )
        return _html(page)

    async def events(self, request: web.Request) -> web.StreamResponse:
        folder = await self._run(request)
        return await self._tell(request, lambda: page_data(folder), POLL_S)

    async def report(self, request: web.Request) -> web.StreamResponse:
        """The run's report as it would be written now. What lies in the folder as one may be a stranger's page."""
        folder = await self._run(request)
        async with self._drawing:
            try:
                return _html(await asyncio.to_thread(report_page, folder))
            except ValueError as error:
                raise web.HTTPConflict(text=str(error)) from None

    def _runs(self) -> dict[str, Any]:
        rows = list_runs(self.folder)
        return index_data(rows, self.folder, [f"../run/{self._name(Path(row['run']))}/" for row in rows])

    def _name(self, folder: Path) -> str:
        """What stands for a run in an address."""
        name = hashlib.sha256(str(folder.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
        self._known[name] = folder
        return name

    async def _run(self, request: web.Request) -> Path:
        """The folder of the run that an address names. Raises HTTPNotFound where it names none of those below ours."""
        name = request.match_info["run"]
        if name not in self._known:
            for folder in await asyncio.to_thread(lambda: [*find_runs(self.folder)]):
                self._name(folder)
        if name not in self._known:
            raise web.HTTPNotFound
        return self._known[name]

    async def _tell(self, request: web.Request, look: Look, pause_s: float) -> web.StreamResponse:
        """Tells what has changed as server-sent events, from all that there is on, until either side ends."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        told: dict[str, str] = {}
        quiet_s = 0.0
        with suppress(ConnectionResetError):
            while not self.closing.is_set():
                now = {key: json.dumps(value) for key, value in (await asyncio.to_thread(look)).items()}
                if news := {key: text for key, text in now.items() if told.get(key) != text}:
                    told |= news
                    body = ",".join(f"{json.dumps(key)}:{text}" for key, text in news.items())
                    await response.write(f"data: {{{body}}}\n\n".encode())
                    quiet_s = 0.0
                elif (quiet_s := quiet_s + pause_s) >= QUIET_S:
                    await response.write(b":\n\n")
                    quiet_s = 0.0
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.closing.wait(), pause_s)
        return response


def guard(token: str, port: int) -> Any:
    """Refuses what asks under another machine's name, without the token, or to change something."""
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]

    @web.middleware
    async def check(request: web.Request, handler: Answer) -> web.StreamResponse:
        if request.headers.get("Host") not in hosts:
            raise web.HTTPForbidden(text=f"open http://{hosts[0]}/ with its token\n")
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        if not secrets.compare_digest(request.match_info.get("token", "").encode(), token.encode()):
            raise web.HTTPNotFound
        return await handler(request)

    return check


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html")


def serve(folder: Path, port: int, said: Callable[[str], object]) -> None:
    """Serves the pages until SIGINT or SIGTERM. `port` 0: any that is free. `said` is told the address.

    Raises ValueError when there is no such folder, and for a port that cannot be had.
    """
    asyncio.run(_serve(folder, port, said))


async def _serve(folder: Path, port: int, said: Callable[[str], object]) -> None:
    site = Site(folder)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise ValueError(
                f"port {port} cannot be had ({error.strerror}): give --port another one, or none"
            ) from None
        port = listening.getsockname()[1]
        runner = web.AppRunner(site.application(port), access_log=None, shutdown_timeout=POLL_S)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows, where Ctrl-C ends the loop itself
                asyncio.get_running_loop().add_signal_handler(number, site.closing.set)
        try:
            said(f"http://{HOST}:{port}/{site.token}/")
            await site.closing.wait()
        finally:
            site.closing.set()
            await runner.cleanup()
