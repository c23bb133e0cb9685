"""A real S3 server on this machine (moto's) that fails on purpose: refusals, lost connections, cut and slow answers."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from motive.extras import require
from motive.store import remote

BUCKET = "faults"
FAULTS = ("500 before", "500 after", "lost before", "lost after", "cut answer", "slow", "time-out")
READ_TIMEOUT_S = 3.0

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Faults:
    """Which share of requests fails, and how; 0 lets everything through.

    Attributes:
        share: of all requests.
        seen: fault -> how often it was injected.
        requests: that were answered in all.
    """

    share: float = 0.0
    seed: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()

    def draw(self) -> str | None:
        """The fault of the next request."""
        with self._lock:
            self.requests += 1
            if self._random.random() >= self.share:
                return None
            fault = self._random.choice(FAULTS)
            self.seen[fault] += 1
            return fault

    def wrap(self, app: App) -> App:
        """The application, failing."""

        def failing(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            fault = self.draw()
            if fault in ("500 before", "lost before"):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                return _refuse(start) if fault == "500 before" else _hang_up(environ)
            if fault == "slow":
                time.sleep(0.2)
            if fault == "time-out":
                time.sleep(1.5 * READ_TIMEOUT_S)
            answer = b"".join(app(environ, start))
            if fault == "500 after":
                return _refuse(start)
            if fault == "lost after":
                return _hang_up(environ)
            return [answer[: len(answer) // 2]] if fault == "cut answer" else [answer]

        return failing


def _refuse(start: Callable[..., Any]) -> list[bytes]:
    body = b"<Error><Code>InternalError</Code><Message>made so</Message></Error>"
    try:
        start("500 Internal Server Error", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    except AssertionError:  # the answer had started
        raise ConnectionError("made so") from None
    return [body]


def _hang_up(environ: dict[str, Any]) -> list[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("made so")


@contextmanager
def s3_server(faults: Faults) -> Iterator[str]:
    """Run the server with an empty bucket; yields an address such as ``s3://faults``. Settings of fsspec are put back.

    Raises:
        MissingExtra: moto's server or s3fs is not installed.
    """
    conf = require("fsspec.config", "s3_server", "remote").conf
    require("s3fs", "s3_server", "dev")
    server_module, serving = require("moto.server", "s3_server", "dev"), require("werkzeug.serving", "s3_server", "dev")

    class Quiet(serving.WSGIRequestHandler):
        def log(self, kind: str, message: str, *args: object) -> None:
            return

    application = server_module.DomainDispatcherApplication(server_module.create_backend_app)
    server = serving.make_server("127.0.0.1", 0, faults.wrap(application), threaded=True, request_handler=Quiet)
    server.log = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = dict(conf.get("s3", {}))
    conf["s3"] = {
        "key": "test",
        "secret": "test",
        "endpoint_url": f"http://127.0.0.1:{server.server_port}",
        "client_kwargs": {"region_name": "eu-central-1"},
        "config_kwargs": {"connect_timeout": 2, "read_timeout": READ_TIMEOUT_S, "retries": {"max_attempts": 2}},
    }
    system = require("s3fs", "s3_server", "dev").S3FileSystem
    patience_s, remote.REQUEST_S = remote.REQUEST_S, 4 * READ_TIMEOUT_S
    try:
        system.clear_instance_cache()
        share, faults.share = faults.share, 0.0
        system().makedirs(BUCKET, exist_ok=True)
        faults.share = share
        yield f"s3://{BUCKET}"
    finally:
        remote.REQUEST_S = patience_s
        conf["s3"] = before
        system.clear_instance_cache()
        server.shutdown()
        server.server_close()
        thread.join()
