"""An HTTP server on this machine that serves bytes, by ranges or not, and fails on demand."""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote


@dataclass
class Site:
    """What the server has, and how it behaves.

    Attributes:
        files: bytes by path, without the first slash.
        ranges: whether it knows byte ranges; Python's own server, for one, does not.
        etags: whether it marks versions.
        signature: query that GET must have, as a signed address does; HEAD is refused then.
        faults: what the next GETs of a path end in: a status, or the number of bytes after which the line is cut.
        seen: (method, path) -> requests; sent: path -> bytes of bodies.
        address: of the server.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etags: bool = True
    signature: str = ""
    faults: dict[str, list[int]] = field(default_factory=dict)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    address: str = ""

    def gets(self, path: str) -> int:
        """GET requests for a file."""
        return self.seen["GET", path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: ClassVar[Site]

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        site = self.site
        path, _, query = unquote(self.path).lstrip("/").partition("?")
        site.seen[self.command, path] += 1
        planned = site.faults.get(path, []) if body else []
        fault = planned.pop(0) if planned else None
        data = site.files.get(path)
        if site.signature and (not body or query != site.signature):
            self._refuse(403)
        elif data is None:
            self._refuse(404)
        elif fault is not None and 400 <= fault < 600:
            self._refuse(fault)
        else:
            self._send(path, data, body, fault)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, path: str, data: bytes, body: bool, cut: int | None) -> None:
        site = self.site
        wanted = self.headers.get("Range") if site.ranges else None
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if site.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if site.etags:
            self.send_header("ETag", f'"{zlib.crc32(data):x}"')
        self.end_headers()
        if body:
            part = data[start:] if cut is None else data[start : start + cut]
            site.sent[path] += len(part)
            try:
                self.wfile.write(part)
            except OSError:  # the client looked at the headers alone
                self.close_connection = True
            self.close_connection = self.close_connection or cut is not None


@contextmanager
def http_server(site: Site) -> Iterator[str]:
    """Run the server; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
