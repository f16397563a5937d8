"""A page as a program reads it."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

EMPTY = {"meta", "link", "img", "br", "circle", "input"}


@dataclass(eq=False)
class Element:
    """An element with its attributes, what lies in it, and its text."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self, tag: str, **wanted: str) -> list["Element"]:
        """Elements within it of a tag, and with these attributes (`_` for `-`)."""
        names = {name.strip("_").replace("_", "-"): value for name, value in wanted.items()}
        own = [self] if self.tag == tag and names.items() <= self.attributes.items() else []
        return own + [found for child in self.children for found in child.all(tag, **wanted)]

    @property
    def text(self) -> str:
        """All text within it, in no particular order."""
        return " ".join([*self.texts, *(child.text for child in self.children)]).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page")]

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes})
        self.open[-1].children.append(element)
        if tag not in EMPTY:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.open[-1].texts.append(data.strip())


def read_page(path: Path) -> Element:
    """Reads a page; its elements must be closed in order."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert len(reader.open) == 1
    return reader.open[0]


def held(page: Element, id: str) -> Any:
    """What a page's program is told, by the id of the element that holds it."""
    (script,) = page.all("script", id=id)
    return json.loads("".join(script.texts))
