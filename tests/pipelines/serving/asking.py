"""A server in a thread, and how it is asked."""

import http.client
import io
from contextlib import contextmanager
from threading import Thread

import numpy as np
from PIL import Image

PATIENCE = 60


@contextmanager
def answering(server):
    """Has a server answer within the block, from another thread."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, headers=None):
    """One request; returns status, headers and content."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def encoded(pixels, format="PNG"):
    """The bytes of an image's file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
