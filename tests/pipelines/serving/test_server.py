"""The server, with a classifier that gives the mean of the pixels: who may ask what."""

import json
import re
import socket
import struct
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from pipelines.explaining import TrainingImages
from pipelines.serving import server as module
from pipelines.serving.answering import Answerer
from pipelines.serving.server import Server, Site
from tests.pipelines.predicting.stub import CARD, StubClassifier
from tests.pipelines.serving.asking import PATIENCE, answering, ask, encoded, noise
from transfer.errors import InputError
from transfer.images.decoding import BadImage, decode

IMAGE = encoded(noise(20, 24))
LEFT_OUT = "nothing is <known>"


def site(folder, before=lambda row: None):
    answerer = Answerer(StubClassifier(before), CARD, None, None, TrainingImages(), 5, (LEFT_OUT,))
    return Site(answerer, folder / "classifier.keras", folder)


@pytest.fixture
def server(tmp_path):
    with Server(0) as server, answering(server):
        server.site = site(tmp_path)
        yield server


def raw(server, *pieces, shut=False):
    """What comes back for bytes as they are."""
    with socket.create_connection(("127.0.0.1", server.server_port), PATIENCE) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(2**16):
            received += piece
    return received


def error(content):
    (reason,) = json.loads(content).values()
    return reason


# ---- what is answered


def test_an_image_is_answered_with_its_classes(server):
    status, headers, content = ask(server, "POST", "/classify", IMAGE)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    said = json.loads(content)
    mean = decode(IMAGE, "").mean() / 255
    best = [("a, b", mean), ("c", 1 - mean)] if mean > 0.5 else [("c", 1 - mean), ("a, b", mean)]
    assert [(one["class"], one["probability"]) for one in said["top"]] == [
        (name, pytest.approx(value, abs=1e-6)) for name, value in best
    ]
    assert (said["class"], said["evidence"], said["nearest"]) == (best[0][0], None, [])
    assert "unknown" not in said and "image" not in said


def test_the_page_holds_all_that_it_needs_and_may_do_nothing_else(server):
    status, headers, content = ask(server, "GET", "/?from=a-bookmark")
    page = content.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert not re.search(r"https?:|//\w+\.", page)
    policy = dict(
        one.strip().split(" ", 1) for one in headers["Content-Security-Policy"].split(";")
    )
    assert policy.keys() == {
        *("default-src", "base-uri", "form-action", "frame-ancestors"),
        *("connect-src", "img-src", "style-src", "script-src"),
    }
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    for tag in ("style", "script"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = b64encode(sha256(inline.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert '<html lang="en">' in page and 'aria-live="polite"' in page
    assert '<label for="image">' in page and "nothing is &lt;known&gt;" in page
    assert f'data-limit="{32 * 2**20}"' in page and "/report" not in page


def test_every_answer_forbids_what_a_browser_should_not_do(server):
    for method, path in (("GET", "/"), ("GET", "/gone"), ("POST", "/classify"), ("HEAD", "/")):
        _, headers, _ = ask(server, method, path, IMAGE if method == "POST" else None)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Python" not in headers["Server"]


def test_a_report_is_served_once_there_is_one(server, tmp_path):
    assert ask(server, "GET", "/report")[0] == 404
    (tmp_path / "report.html").write_text("<p>caf\xe9", encoding="utf-8")
    status, headers, content = ask(server, "GET", "/report")
    assert (status, content.decode()) == (200, "<p>caf\xe9")
    policy = headers["Content-Security-Policy"]
    assert "sandbox" in policy and "connect-src" not in policy and "default-src 'none'" in policy
    assert b'href="/report"' in ask(server, "GET", "/")[2]


def test_no_run_no_report(server, tmp_path):
    (tmp_path / "report.html").write_text("of another", encoding="utf-8")
    server.site = Site(server.site.answerer, server.site.model, None)
    assert ask(server, "GET", "/report")[0] == 404
    assert b'href="/report"' not in ask(server, "GET", "/")[2]


# ---- what is no image


BROKEN = {
    "text": (b"no image", 415),
    "nothing": (b"", 415),
    "a truncated JPEG": (encoded(noise(60, 80), "JPEG")[:-900], 422),
    "a truncated PNG": (IMAGE[: len(IMAGE) // 2], 422),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_image_is_refused_in_the_words_of_predict(server, broken):
    content, expected = BROKEN[broken]
    with pytest.raises(BadImage) as bad:
        decode(content, "")
    status, _, said = ask(server, "POST", "/classify", content)
    assert status == expected
    assert error(said).endswith(f"received what cannot be decoded: {bad.value.reason}")


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(server, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    status, _, said = ask(server, "POST", "/classify", IMAGE)
    assert status == 422
    assert "too many pixels" in error(said)


# ---- how much may be sent


def test_an_image_says_its_length(server):
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\n"
    assert raw(server, head + b"\r\n").startswith(b"HTTP/1.1 411 ")
    chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert raw(server, head + chunked).startswith(b"HTTP/1.1 411 ")
    for length in (b"-1", b"1_0", b"1.5", b"0x10", b"9" * 5000, b"3\r\nContent-Length: 3"):
        said = raw(server, head + b"Content-Length: " + length + b"\r\n\r\nabc")
        assert said.startswith(b"HTTP/1.1 400 "), length
    cut = raw(server, head + b"Content-Length: 500\r\n\r\nabc", shut=True)
    assert cut.startswith(b"HTTP/1.1 400 ")
    assert b"expected 500 bytes, as said, received 3" in cut


def test_too_much_is_refused_unread(server, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", len(IMAGE))
    assert ask(server, "POST", "/classify", IMAGE)[0] == 200
    status, _, said = ask(server, "POST", "/classify", IMAGE + b"\0")
    assert (status, error(said)) == (
        413,
        f"expected an image of at most {len(IMAGE):,} bytes, received {len(IMAGE) + 1:,}",
    )
    # The answer arrives though the client sends on.
    assert ask(server, "POST", "/classify", bytes(4 * 2**20))[0] == 413
    # Nothing has to be sent at all.
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n"
    assert raw(server, head + b"\r\n").startswith(b"HTTP/1.1 413 ")
    asking = head + b"Expect: 100-continue\r\n\r\n"
    assert raw(server, asking).startswith(b"HTTP/1.1 413 ")


def test_who_asks_first_is_told_to_go_on(server):
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    said = raw(server, head + b"Content-Length: %d\r\n\r\n" % len(IMAGE), IMAGE)
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


# ---- who may ask


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(name, 200) for name in ("127.0.0.1", "127.0.0.1:8000", "localhost:9", "LocalHost")],
        *[(name, 403) for name in ("evil.example", "127.0.0.1.evil.example", "localhost.evil")],
        *[(name, 403) for name in ("", "0.0.0.0", "[::1]", "localhost:80@evil", "xlocalhost")],
    ],
)
def test_the_host_must_be_this_machine(server, host, expected):
    for method, path, body in (("GET", "/", None), ("POST", "/classify", IMAGE)):
        assert ask(server, method, path, body, {"Host": host})[0] == expected


def test_there_must_be_one_host(server):
    assert raw(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw(server, two).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        *[("http://localhost:8000", 200), ("http://evil.example", 403), ("null", 403)],
        *[("https://localhost:8000", 403), ("http://localhost:8001", 403)],
        *[("http://127.0.0.1:8000", 403), ("", 403)],
    ],
)
def test_an_image_comes_from_our_page_or_from_none(server, origin, expected):
    headers = {"Host": "localhost:8000", "Origin": origin}
    assert ask(server, "POST", "/classify", IMAGE, headers)[0] == expected


@pytest.mark.parametrize(
    "path",
    [
        *["/../../etc/passwd", "/..%2f..%2fetc/passwd", "/report/../../../etc/passwd", "//etc"],
        *["/classifier.keras", "/page.html", "/index.html", "/classify/", "http://localhost/"],
    ],
)
def test_there_are_no_other_paths(server, path):
    for method in ("GET", "POST"):
        assert ask(server, method, path, b"")[0] == 404


def test_there_are_no_other_methods(server):
    for path, allowed in {"/": "GET", "/report": "GET", "/classify": "POST"}.items():
        for method in {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"} - {allowed}:
            status, headers, _ = ask(server, method, path)
            assert (status, headers["Allow"]) == (405, allowed)
    assert raw(server, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").endswith(b"\r\n\r\n")
    assert raw(server, b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 501 ")
    assert b"Bad request" in raw(server, b"\x16\x03\x01 no words at all\r\n\r\n")


# ---- many at once, and those that go away


def test_one_image_is_looked_at_at_a_time(server, tmp_path):
    active = []

    def before(row):
        active.append(row)
        assert len(active) == 1
        time.sleep(0.05)
        active.pop()

    server.site = site(tmp_path, before)
    images = [encoded(np.full((4, 4, 3), level, np.uint8)) for level in (0, 51, 204, 255)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: ask(server, "POST", "/classify", one), images))
    assert [status for status, _, _ in answers] == [200] * 4
    said = [{one["class"]: one["probability"] for one in json.loads(answer[2])["top"]}
            for answer in answers]  # fmt: skip
    np.testing.assert_allclose([one["a, b"] for one in said], [0, 0.2, 0.8, 1], atol=1e-6)


def test_a_page_is_served_while_an_image_is_looked_at(server, tmp_path):
    begun, seen = Event(), Event()

    def before(row):
        begun.set()
        assert seen.wait(PATIENCE)

    server.site = site(tmp_path, before)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, "POST", "/classify", IMAGE)
        assert begun.wait(PATIENCE)
        assert ask(server, "GET", "/")[0] == 200
        seen.set()
        assert answer.result()[0] == 200


def test_nobody_hears_of_clients_that_go_away(server, tmp_path, capfd):
    gone = Event()
    server.site = site(tmp_path, lambda row: gone.wait(PATIENCE))
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(IMAGE)
    for sent in (b"", head[:30], head, head + IMAGE[:9], head + IMAGE, head + IMAGE):
        with socket.create_connection(("127.0.0.1", server.server_port), PATIENCE) as connection:
            # Closed so, the connection is reset.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(sent)
    gone.set()
    assert ask(server, "POST", "/classify", IMAGE)[0] == 200
    server.site.answerer.close()
    assert capfd.readouterr() == ("", "")


def test_a_classifier_that_fails_says_so_and_serves_on(server, tmp_path, capfd):
    def fail(row):
        raise RuntimeError("no such luck")

    server.site = site(tmp_path, fail)
    status, _, said = ask(server, "POST", "/classify", IMAGE)
    assert (status, error(said)) == (500, "this could not be answered: no such luck")
    assert "RuntimeError: no such luck" in capfd.readouterr().err  # for whoever mends it
    assert ask(server, "GET", "/")[0] == 200


# ---- where it listens


def test_it_listens_on_this_machine_alone(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_that_cannot_be_had_is_said_in_a_line(server):
    with pytest.raises(InputError, match=f"received {server.server_port}: Address already in use"):
        Server(server.server_port)
    for port in (-1, 2**16):
        with pytest.raises(InputError, match=f"0 to 65535, received {port}"):
            Server(port)


def test_the_package_holds_the_page():
    folder = Path(module.__file__).parent
    assert {path.name for path in folder.glob("page.*")} == {"page.html", "page.css", "page.js"}
