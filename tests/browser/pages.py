"""A page in headless Chromium: what it says, asks for, hides and breaks."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
AXE = "axe_playwright_python"
"""The package on the Python package index with the newest axe-core; its file alone is used."""
HEIGHT = 900
SERIOUS = ("serious", "critical")

BROKEN = """
const done = arguments[0];
const pictures = [...document.images];
pictures.forEach(one => { one.loading = "eager"; });
Promise.allSettled(pictures.map(one => one.decode())).then(() => done(
    pictures.filter(one => one.naturalWidth === 0).map(one => one.outerHTML.slice(0, 200))));
"""
JUDGE = """
const done = arguments[0];
axe.run({resultTypes: ["violations", "incomplete"]}).then(done, error => done(String(error)));
"""


def lacking() -> str | None:
    """What is missing to open pages, in words; None if nothing is."""
    for name in ("selenium", AXE):
        if find_spec(name) is None:
            return f"the package {name} is not installed (make setup-dev)"
    if _browser() is None:
        return "no Chromium is installed (Debian's package chromium)"
    if shutil.which(DRIVER) is None:
        return f"no {DRIVER} is installed (Debian's package chromium-driver)"
    return None


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def browser() -> Iterator["Browser"]:
    """Chromium, which takes a second or two to start; it can open one page after another."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = _browser() or ""
    for flag in (
        "--headless=new",
        "--no-sandbox",  # which containers do not allow; pages are the project's own
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",  # no test depends on a network
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which(DRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """A browser that shows one page at a time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open_page(self, path: Path, width: int = 1280, dark: bool = False) -> "Page":
        """Opens a file and waits until it is loaded.

        Args:
            path: Of an HTML file.
            width: Of the window, in CSS pixels; also below what a window can be made by hand.
            dark: Whether the page is told that dark colours are preferred.

        Returns:
            The page. One opened before is gone.
        """
        self.driver.get("about:blank")  # else the same page would not be loaded again
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # what is said of pages before
        self._tell("Storage.clearDataForOrigin", origin="file://", storageTypes="all")
        self._tell("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT,
                   deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[scheme])
        address = path.resolve().as_uri()
        self.driver.get(address)
        return Page(self.driver, address)

    def _tell(self, command: str, **values: Any) -> None:
        self.driver.execute_cdp_cmd(command, values)


class Page:
    """An open page. Lists hold what is wrong, each in a line; of a good page they are empty.

    Attributes:
        driver: Selenium's, to type, click and ask anything else.
    """

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self._address = address
        self._errors: list[str] = []
        self._requests: list[str] = []

    def console_errors(self) -> list[str]:
        """What the console says of errors, since the page was opened."""
        entries = self.driver.get_log("browser")
        self._errors += [one["message"] for one in entries if one["level"] == "SEVERE"]
        return list(self._errors)

    def requests(self) -> list[str]:
        """Addresses that the page has asked for, but for itself and data inside it."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._requests.append(message["params"]["url"])
        return [one for one in self._requests if not self._is_inside(one)]

    def _is_inside(self, address: str) -> bool:
        return address == self._address or address.startswith(("data:", "blob:"))

    def broken_pictures(self) -> list[str]:
        """The `img` elements that show nothing, lazy ones further down included."""
        return self.driver.execute_async_script(BROKEN)

    def violations(self) -> list[str]:
        """What keeps people from using the page, by axe-core: its rule and the element.

        Rules that axe could not follow at all are among them. The ground under text is white to it
        where the page gives none, in the dark, too.
        """
        self.driver.execute_script(_axe())
        found = self.driver.execute_async_script(JUDGE)
        assert isinstance(found, dict), f"axe-core failed: {found}"
        broken = [rule for rule in found["violations"] if rule["impact"] in SERIOUS]
        unjudged = [rule["id"] for rule in found["incomplete"] if not rule["nodes"]]
        return [
            *(f"{rule['id']}: {node['html']}" for rule in broken for node in rule["nodes"]),
            *(f"{rule}: not judged" for rule in unjudged),
        ]

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the window, so that one has to scroll."""
        wider = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
        return self.driver.execute_script(wider)

    def print_to_pdf(self) -> bytes:
        """The page as it is printed, on A4 or what its style says."""
        return base64.b64decode(self.driver.print_page())

    def screenshot(self) -> bytes:
        """PNG of the whole page, also of what lies below the window."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        asked = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        return base64.b64decode(taken["data"])


@cache
def _axe() -> str:
    return files(AXE).joinpath("axe.min.js").read_text(encoding="utf-8")
