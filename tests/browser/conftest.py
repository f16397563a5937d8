"""One browser for all tests of a file."""

import pytest

from tests.browser.pages import browser, lacking


@pytest.fixture(scope="module")
def open_page():
    """Opens a file in Chromium, see `Browser.open_page`."""
    if reason := lacking():
        pytest.skip(reason)
    with browser() as opened:
        yield opened.open_page
