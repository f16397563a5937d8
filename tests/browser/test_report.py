"""The report in a browser, as people use it: by pointer, keyboard and printer."""

import json
from shutil import copyfile

import pytest

from pipelines.cli import main
from tests.pipelines.small_runs import options, photographs

CLASSES = ("cat", "dog", 'a <b>"horse"</b> & cart'.replace("/", "-"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Where all stages that leave something to see have run."""
    place = tmp_path_factory.mktemp("reported")
    photographs(place / "photos", CLASSES)
    assert main(["features", *options(place)]) == 0
    for stage in ("head", "audit"):
        assert main([stage, *options(place)]) == 0
    run, second = place / "artifacts/runs/run", place / "second.keras"
    copyfile(run / "classifier.keras", second)
    assert main(["evaluate", *options(place, "--models", str(second))]) == 0
    assert main(["report", *options(place)]) == 0
    assert main(["compare", str(run)]) == 0
    return run


@pytest.fixture(params=[(380, False), (380, True), (1600, False), (1600, True)],
                ids=lambda case: f"{case[0]}-{'dark' if case[1] else 'light'}")  # fmt: skip
def opened(request, open_page):
    """Opens a page in a width, light or dark."""
    width, dark = request.param
    return lambda path: open_page(path, width=width, dark=dark)


@pytest.mark.parametrize("name", ["report.html", "compare-test.html"])
def test_nothing_is_wrong_with_it(name, run, opened):
    page = opened(run / name)
    assert page.console_errors() == []
    assert page.requests() == []
    assert page.broken_pictures() == []
    assert page.overflow() <= 0
    assert page.violations() == []


def click(page, selector):
    """By the keyboard, which works where a pointer does."""
    from selenium.webdriver.common.keys import Keys

    element = page.driver.find_element("css selector", selector)
    element.send_keys(Keys.ENTER)
    return element


def texts(page, selector):
    elements = page.driver.find_elements("css selector", selector)
    return [element.get_attribute("textContent").strip() for element in elements]


def test_cells_show_their_images(run, open_page):
    page = open_page(run / "report.html")
    scores = json.loads((run / "evaluation-test.json").read_text())["models"]["second"]
    cells = "[aria-label='Confusion of second'] button"
    buttons = page.driver.find_elements("css selector", cells)
    assert sum(int(button.text) for button in buttons) == scores["num_images"]
    for number, button in enumerate(buttons):
        count, says = int(button.text), button.get_attribute("aria-label")
        page.driver.execute_script("arguments[0].click()", button)
        assert len(page.driver.find_elements("css selector", "#images-of-1 li img")) == count
        assert texts(page, "#images-of-1 p") == [says]
        pressed = [one.get_attribute("aria-pressed") for one in buttons]
        assert pressed == ["true" if at == number else "false" for at in range(len(buttons))]
    assert page.broken_pictures() == []


def test_tables_are_sorted_by_a_key(run, open_page):
    page = open_page(run / "report.html")
    table = "[aria-label='Scores of each class, second'] "
    click(page, table + "th:nth-child(3) button")
    recalls = [float(text) for text in texts(page, table + "tbody td:nth-child(3)")]
    assert recalls == sorted(recalls, reverse=True)
    click(page, table + "th:nth-child(3) button")
    recalls = [float(text) for text in texts(page, table + "tbody td:nth-child(3)")]
    assert recalls == sorted(recalls)
    assert (
        page.driver.find_element("css selector", table + "th:nth-child(3)").get_attribute(
            "aria-sort"
        )
        == "ascending"
    )
    click(page, table + "th:nth-child(1) button")
    click(page, table + "th:nth-child(1) button")
    assert texts(page, table + "tbody th") == sorted(CLASSES)


def test_the_map_moves_and_shows_one_class(run, open_page):
    page = open_page(run / "report.html")

    def places():
        circles = page.driver.find_elements("css selector", "#map-of-images circle")
        return [[float(one.get_attribute(name)) for name in ("cx", "cy")] for one in circles]

    before = places()
    click(page, "[data-places=PCA]")
    assert len(places()) == len(before)
    assert places() != before
    click(page, "[data-places='t-SNE']")
    assert places() == before
    click(page, "[data-class='1']")
    dim = len(page.driver.find_elements("css selector", "#map-of-images circle.dim"))
    assert dim == len(page.driver.find_elements("css selector", "#map-of-images circle:not(.k1)"))
    click(page, "[data-class='1']")
    assert not page.driver.find_elements("css selector", "#map-of-images circle.dim")


def test_a_pointer_sees_the_image_of_a_point(run, open_page):
    from selenium.webdriver.common.action_chains import ActionChains

    page = open_page(run / "report.html")
    points = json.loads(texts(page, "#points")[0])
    circle = page.driver.find_elements("css selector", "#map-of-images circle")[-1]
    now = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"
    page.driver.execute_script(now, circle)
    ActionChains(page.driver).move_to_element(circle).perform()
    (said,) = texts(page, ".tip")
    assert said.startswith(points["ids"][-1])
    assert page.driver.execute_script("return document.querySelector('.tip img').naturalWidth") > 0


def test_what_is_printed_is_whole(run, open_page):
    page = open_page(run / "report.html")
    folded = "return document.querySelectorAll('details:not([open])').length"
    assert page.driver.execute_script(folded) > 0
    page.driver.execute_script(
        "addEventListener('beforeprint', () => { window.foldedInPrint = "
        "document.querySelectorAll('details:not([open])').length; })"
    )
    printed = page.print_to_pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
    assert page.driver.execute_script("return window.foldedInPrint") == 0
    assert page.driver.execute_script(folded) > 0
