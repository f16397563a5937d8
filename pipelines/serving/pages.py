"""The page: one document without a single address in it, and what browsers may do with it."""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from pipelines.serving.answering import Answerer
from transfer.names import shown

NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
REPORT_POLICY = (
    f"{NOTHING_ELSE}; img-src data:; font-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; sandbox allow-scripts"
)
"""What a report may do: all that it holds itself, with an origin of its own, which may not ask."""


@dataclass(frozen=True)
class Page:
    """A document and its content security policy."""

    html: str
    policy: str


def make_page(model: Path, answerer: Answerer, limit: int, with_report: bool) -> Page:
    """Makes the page where a user drops an image.

    Args:
        model: The classifier's file.
        answerer: What answers.
        limit: Bytes that an image may have.
        with_report: Whether there is a report to lead to.
    """
    style, script = _read("page.css"), _read("page.js")
    card = answerer.card
    names = [shown(str(part)) for part in (model.parent.resolve().name, model.name)]
    html = Template(_read("page.html")).substitute(
        style=style,
        script=script,
        model=escape("/".join(names)),
        classes=f"{len(card.class_names):,}",
        backbone=escape(card.backbone),
        limit=limit,
        left_out="".join(f"<li>{escape(shown(one))}</li>" for one in answerer.left_out),
        report='<p><a href="/report">The report of this run</a></p>' if with_report else "",
    )
    policy = (
        f"{NOTHING_ELSE}; connect-src 'self'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    return Page(html, policy)


def _read(name: str) -> str:
    return (files("pipelines.serving") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
