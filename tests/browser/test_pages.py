"""That the browser sees what is wrong with a page, and nothing wrong with a good one."""

import io
import re

import pytest
from PIL import Image

from tests.browser import pages

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
STYLE = """
    :root { color-scheme: light dark; background: light-dark(white, black); }
"""
LOOKS = ("console_errors", "requests", "broken_pictures", "violations")


@pytest.fixture
def shown(open_page, tmp_path):
    """Opens a page with this in its body."""

    def show(body, width=800, dark=False):
        path = tmp_path / "a page.html"
        path.write_text(
            f"<!doctype html><html lang=en><meta charset=utf-8><title>A page</title>"
            f"<style>{STYLE}</style><main><h1>A page</h1>{body}</main></html>",
            encoding="utf-8",
        )
        return open_page(path, width, dark)

    return show


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wrong_with_a_good_page(shown, dark):
    page = shown(
        f'<img src="{DOT}" alt="a dot">'
        f'<img src="{DOT}" alt="" loading=lazy style="margin-top: 9999px">'
        "<label>Name <input></label><script>console.log('well')</script>",
        dark=dark,
    )
    assert [getattr(page, look)() for look in LOOKS] == [[], [], [], []]
    assert page.overflow() == 0


def found(page):
    """What is wrong, by the look that finds it."""
    return {look: said for look in LOOKS if (said := getattr(page, look)())}


def test_an_error_in_a_script_is_found(shown):
    (said,) = found(shown("<script>undefinedName()</script>"))["console_errors"]
    assert "undefinedName is not defined" in said


def test_errors_and_requests_of_later_are_found_too(shown):
    page = shown("<button onclick=\"fetch('http://example.org/late'); late()\">Go</button>")
    assert found(page) == {}
    page.driver.find_element("tag name", "button").click()
    assert any("late is not defined" in said for said in page.console_errors())
    assert page.requests() == page.requests() == ["http://example.org/late"]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x.png", "https://example.org/x.png", "x.png"]
)
def test_what_is_fetched_from_elsewhere_is_found(shown, tmp_path, address):
    said = found(shown(f'<div style="background: url({address})">text</div>'))["requests"]
    assert said == [address if ":" in address else (tmp_path / address).as_uri()]


def test_a_socket_is_found(shown):
    page = shown("<script>new WebSocket('ws://127.0.0.1:9/')</script>")
    assert page.requests() == ["ws://127.0.0.1:9/"]


@pytest.mark.parametrize("lazy", ["", "loading=lazy style=margin-top:9999px"])
def test_a_broken_picture_is_found(shown, lazy):
    page = shown(f'<img {lazy} src="data:image/png;base64,AAAA" alt="nothing">')
    (said,) = found(page)["broken_pictures"]
    assert 'alt="nothing"' in said


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("<input>", "label"),
        (f'<img src="{DOT}">', "image-alt"),
        ('<p style="color: oklch(0.8 0 0); background: white">faint</p>', "color-contrast"),
    ],
)
def test_what_keeps_people_out_is_found(shown, body, rule):
    (said,) = found(shown(body))["violations"]
    assert said.startswith(f"{rule}: {body[:4]}")


def test_colours_are_judged_as_they_are_in_the_dark(shown):
    body = '<p style="color: light-dark(black, #222)">text</p>'
    assert found(shown(body)) == {}
    assert list(found(shown(body, dark=True))) == ["violations"]


@pytest.mark.parametrize(("width", "overflow"), [(320, 380), (1280, 0)])
def test_what_is_too_wide_is_found(shown, width, overflow):
    page = shown('<div style="width: 700px; margin-left: -8px">wide</div>', width)
    assert page.driver.execute_script("return innerWidth") == width
    assert page.overflow() == overflow


def test_a_page_begins_with_nothing_of_the_last(shown):
    body = "<script>if (localStorage.seen) seen(); localStorage.seen = 1; lost()</script>"
    for _ in range(2):
        (said,) = found(shown(body))["console_errors"]
        assert "lost is not defined" in said


def test_a_page_is_printed(shown):
    printed = shown('<p style="break-before: page">second</p>').print_to_pdf()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2


def test_all_of_a_page_is_pictured(shown):
    page = shown('<div style="height: 3000px; background: #ff0000"></div>', width=400)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        assert 380 <= picture.width <= 400, "less a bar to scroll with"
        assert picture.height > 3000
        assert picture.convert("RGB").getpixel((200, 2900)) == (255, 0, 0)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(pages.shutil, "which", lambda name: None)
    monkeypatch.setattr(pages, "find_spec", lambda name: object())
    assert pages.lacking() == "no Chromium is installed (Debian's package chromium)"
    monkeypatch.setattr(pages.shutil, "which", lambda name: name if name == "chromium" else None)
    assert pages.lacking() == "no chromedriver is installed (Debian's package chromium-driver)"
    monkeypatch.setattr(pages, "find_spec", lambda name: None)
    assert pages.lacking() == "the package selenium is not installed (make setup-dev)"
