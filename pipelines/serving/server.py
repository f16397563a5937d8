"""The server: who may ask, how much may be sent, and how each request is answered.

It answers this machine alone. Other pages in the user's browser can reach it as well, so that the
host must be one of our names (a page whose name was rebound to this address has another), and an
image must not come from a page of another origin.
"""

import json
import re
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from pipelines.report import REPORT
from pipelines.serving.answering import Answerer
from pipelines.serving.pages import NOTHING_ELSE, REPORT_POLICY, make_page
from transfer.errors import InputError
from transfer.images.decoding import BadImage
from transfer.images.formats import is_encoded_image

ADDRESS = "127.0.0.1"
MOST_BYTES = 32 * 2**20
"""Of an image's file."""
PATIENCE = 30
"""Seconds that a client may be silent for in the middle of a request."""
DRAINED_BYTES, DRAINED_SECONDS = 8 * 2**20, 2.0
"""How much more is taken from a client that sends on after it was answered."""
METHODS = {"/": "GET", "/report": "GET", "/classify": "POST"}
"""What can be asked, and how."""
_OUR_NAMES = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """What a request is answered with."""

    status: HTTPStatus
    content: bytes
    type: str = "application/json"
    policy: str = NOTHING_ELSE
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 (named for what happened to a request)
    """A request that is not answered as it wants."""

    def __init__(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.response = Response(status, _json({"error": reason}), headers=headers)


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        answerer: What answers.
        model: The file that it was opened from.
        run_folder: Where a report may lie; None where the model is of no run.
    """

    answerer: Answerer
    model: Path
    run_folder: Path | None

    def page(self) -> Response:
        """The page, with a way to the report where there is one by now."""
        page = make_page(self.model, self.answerer, MOST_BYTES, self._report is not None)
        return _html(page.html.encode(), page.policy)

    def report(self) -> Response:
        """The run's report, as it is now."""
        if self._report is None:
            raise Refused(HTTPStatus.NOT_FOUND, "this run has no report")
        return _html(self._report.read_bytes(), REPORT_POLICY)

    def classify(self, content: bytes) -> Response:
        """What is said of an image."""
        try:
            return Response(HTTPStatus.OK, _json(self.answerer.answer(content)))
        except BadImage as bad:
            known = is_encoded_image(content)
            status = HTTPStatus.UNPROCESSABLE_ENTITY if known else HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            reason = f"expected an image, received what cannot be decoded: {bad.reason}"
            raise Refused(status, reason) from None

    @property
    def _report(self) -> Path | None:
        path = self.run_folder / REPORT if self.run_folder else None
        return path if path and path.is_file() else None


class Server(ThreadingHTTPServer):
    """Listens on this machine's own address from the start; answers from `serve_forever` on.

    Args:
        port: 0 is any that is free.

    Attributes:
        url: Where it listens.
        site: What is served; to be set before it answers.

    Raises:
        InputError: If the port cannot be had.
    """

    site: Site

    def __init__(self, port: int) -> None:
        if not 0 <= port < 2**16:
            raise InputError(f"--port expects a number from 0 to 65535, received {port}")
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--port expects one that can be listened at, received {port}: {error.strerror}; "
                "name another, or 0 for any that is free"
            ) from None
        self.url = f"http://{ADDRESS}:{self.server_port}/"

    def server_bind(self) -> None:
        """Binds without asking for the name of the address, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.socket.getsockname()[1]

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection once the client has read the answer.

        Closed while the client still sends, TCP would take the answer back.
        """
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(DRAINED_SECONDS)
            end, left = time.monotonic() + DRAINED_SECONDS, DRAINED_BYTES
            while left > 0 and time.monotonic() < end and (piece := request.recv(2**16)):
                left -= len(piece)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request, after which the connection is closed."""

    server: Server
    protocol_version = "HTTP/1.1"  # in which a client may ask before it sends much
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Answers a request of any method."""
        self._send(self._response())

    do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def handle_expect_100(self) -> bool:
        """Refuses before a body is sent what would be refused after it."""
        try:
            self._checked()
        except Refused as refused:
            self._send(refused.response)
            return False
        return super().handle_expect_100()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what is no request as others are answered."""
        status = HTTPStatus(code)
        self._send(Refused(status, message or status.phrase).response)

    def version_string(self) -> str:
        """Tells no more than it must."""
        return "transfer"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what somebody looks at is nobody else's business."""

    def _response(self) -> Response:
        try:
            path = self._checked()
            if path == "/":
                return self.server.site.page()
            if path == "/report":
                return self.server.site.report()
            return self.server.site.classify(self._body())
        except Refused as refused:
            return refused.response
        except (ConnectionError, TimeoutError):  # the client has gone
            raise
        except Exception as error:
            if not isinstance(error, InputError):
                self.server.handle_error(self.request, self.client_address)
            reason = f"this could not be answered: {error}"
            return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, reason).response

    def _checked(self) -> str:
        """The path that is asked for, if it may be asked for in this way."""
        host = self._only("Host") or ""
        if not _OUR_NAMES.fullmatch(host):
            raise Refused(HTTPStatus.FORBIDDEN, f"expected the host {ADDRESS}, received {host!r}")
        path = self.path.partition("?")[0]
        method = METHODS.get(path)
        if method is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"expected one of {', '.join(METHODS)}")
        if self.command != method:
            reason = f"expected {method}, received {self.command}"
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, reason, Allow=method)
        if method == "POST":
            origin = self._only("Origin")
            if origin is not None and origin.lower() != f"http://{host.lower()}":
                raise Refused(HTTPStatus.FORBIDDEN, f"expected our own page, received {origin!r}")
            self._length()
        return path

    def _only(self, name: str) -> str | None:
        """A header that must not stand there twice; None where it is missing."""
        values = self.headers.get_all(name, [])
        if len(values) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, f"expected one {name}, received {len(values)}")
        return values[0].strip() if values else None

    def _length(self) -> int:
        given = self._only("Content-Length")
        if given is None:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length, received none")
        if not re.fullmatch("[0-9]{1,18}", given):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected a Content-Length in digits")
        if int(given) > MOST_BYTES:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected an image of at most {MOST_BYTES:,} bytes, received {int(given):,}",
            )
        return int(given)

    def _body(self) -> bytes:
        length = self._length()
        content = self.rfile.read(length)
        if len(content) < length:
            reason = f"expected {length:,} bytes, as said, received {len(content):,}"
            raise Refused(HTTPStatus.BAD_REQUEST, reason)
        return content

    def _send(self, response: Response) -> None:
        self.close_connection = True
        self.send_response(response.status)
        headers = {
            "Content-Type": response.type,
            "Content-Length": str(len(response.content)),
            "Content-Security-Policy": response.policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Connection": "close",
            **response.headers,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.content)


def _json(value: object) -> bytes:
    return f"{json.dumps(value)}\n".encode()


def _html(content: bytes, policy: str) -> Response:
    return Response(HTTPStatus.OK, content, "text/html; charset=utf-8", policy)
