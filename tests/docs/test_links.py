"""Links lead somewhere, and documents stay as short as they promise to be."""

import re

import pytest

from tests.docs.documents import DOCUMENTS, EXAMPLES, anchors, blocks, name_of
from tests.places import PROJECT

LINK = re.compile(r"\]\(([^()\s]+)\)|\b(?:src|href|srcset)=\"([^\"]+)\"")
LINES = {"README.md": 150, "CONTRIBUTING.md": 45}
EXAMPLE_LINES = 59
WIDTH = 110
TYPOGRAPHIC = set("\u2018\u2019\u201c\u201d\u2013\u2014")
LARGEST_PICTURE = 60 * 1024


def links(document):
    for found in LINK.finditer(document.read_text()):
        link = found[1] or found[2]
        if not re.match(r"[a-z]+:", link):
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings(document):
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_relative_to(PROJECT), f"{link} leaves the project"
        assert target.exists(), f"{link} leads to nothing"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_of_code_that_are_named_exist(document):
    for path in re.findall(
        r"`((?:cache|transfer|pipelines|tests|docs)/[\w./-]*)`", document.read_text()
    ):
        assert (PROJECT / path).exists(), path


def test_every_guide_is_reached_from_the_readme():
    reached, waiting = set(), [PROJECT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or document.suffix != ".md" or not document.exists():
            continue
        reached.add(document)
        paths = [link.partition("#")[0] for link in links(document)]
        waiting += [(document.parent / path).resolve() for path in paths if path]
    assert {name_of(document) for document in DOCUMENTS} == {name_of(one) for one in reached}


@pytest.mark.parametrize("name", LINES)
def test_short_documents_stay_short(name):
    assert len((PROJECT / name).read_text().splitlines()) <= LINES[name]


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_examples_stay_short(path):
    assert len(path.read_text().splitlines()) <= EXAMPLE_LINES


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_lines_are_short_and_quotes_plain(document):
    printed = {
        block.line + number
        for block in blocks(document)
        if block.language == "text"
        for number in range(block.text.count("\n"))
    }
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        is_free = number in printed or line.startswith(("|", "- [", "!["))
        assert is_free or len(line) <= WIDTH, f"line {number}: {len(line)} characters"
        assert not set(line) & TYPOGRAPHIC, f"line {number}"


def test_pictures_are_small():
    pictures = [path for path in (PROJECT / "docs" / "pictures").iterdir() if path.is_file()]
    assert {path.suffix for path in pictures} == {".png", ".svg"}
    for path in pictures:
        assert path.stat().st_size < LARGEST_PICTURE, path.name
