"""The serving stage: a page on this machine where images are dropped and classified."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.models import default_model, lies_in
from pipelines.serving.answering import open_answerer
from pipelines.serving.server import Server, Site
from pipelines.setup import Setup
from pipelines.terminal import complain
from transfer.errors import InputError


@dataclass(frozen=True)
class ServeStage:
    """Open a page where you drop an image and see what a saved classifier says of it, and why."""

    setup: Setup = field(default_factory=Setup)
    model: Path | None = None
    """A saved classifier; by default the one that predict takes."""
    port: int = 8000
    """Where the page is, for this machine alone; 0 is any port that is free."""
    top: int = 5
    """How many classes to name, best first."""


def run(stage: ServeStage) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        InputError: If there is no classifier, it cannot be run, or the port cannot be had.
    """
    with open_server(stage) as server:
        for line in server.site.answerer.left_out:
            complain(f"serve: {line}")
        print(f"serve: {server.url} (Ctrl-C stops)", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


@contextmanager
def open_server(stage: ServeStage) -> Iterator[Server]:
    """A server that listens and has its classifier; closed at the end of the block.

    Raises:
        InputError: As `run`.
    """
    if stage.top < 1:
        raise InputError(f"--top expects at least 1, received {stage.top}")
    folder = stage.setup.run_folder
    model = stage.model or default_model(folder, "serve")
    with Server(stage.port) as server:  # before the seconds that the classifier takes
        answerer = open_answerer(stage.setup, model, stage.top)
        server.site = Site(answerer, model, folder if lies_in(model, folder) else None)
        try:
            yield server
        finally:
            answerer.close()
