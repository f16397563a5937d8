"""The page of a run: what it shows is what the stages wrote, and it needs nothing else."""

import base64
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cache import FeatureFile
from pipelines.cli import main
from pipelines.evaluating.predictions import read_predictions, save_predictions
from pipelines.models import read_head
from pipelines.reporting.mistakes import nearest_rows
from tests.pipelines.pages.reading import held, read_page
from tests.pipelines.small_runs import SMALL, options, photographs, refused
from transfer.knowing.knowledge import directions_of


@pytest.fixture(scope="module")
def reported(place, trained):
    """A run that was trained, swept, evaluated and audited; and its page."""
    assert main(["sweep", *options(place, "--samples", "3", "--grid", "hidden=4,8")]) == 0
    assert main(["evaluate", *options(place, "--split", "test")]) == 0
    assert main(["audit", *options(place)]) == 0
    assert main(["report", *options(place)]) == 0
    return trained


@pytest.fixture(scope="module")
def page(reported):
    return read_page(reported / "report.html")


def test_it_asks_for_nothing_outside_of_it(reported, page):
    told = [
        value
        for tag in ("img", "script", "link", "a", "iframe", "image", "use")
        for element in page.all(tag)
        for name, value in element.attributes.items()
        if name in ("src", "href", "xlink:href", "srcset")
    ]
    assert len(told) > 20
    assert all(value.startswith(("data:", "#")) for value in told)
    text = (reported / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text


def test_ids_are_unique_and_links_lead_somewhere(page):
    def ids(element):
        own = [element.attributes["id"]] if "id" in element.attributes else []
        return own + [one for child in element.children for one in ids(child)]

    all_ids = ids(page)
    assert len(all_ids) == len(set(all_ids))
    (navigation,) = page.all("nav")
    targets = [link.attributes["href"].lstrip("#") for link in navigation.all("a")]
    assert targets == ["summary", "data", "training", "mistakes", "map", "model"]
    assert set(targets) <= set(all_ids)


def test_pictures_have_words_and_can_be_opened(page):
    pictures = page.all("img")
    assert all(one.attributes["alt"] for one in pictures)
    for one in pictures:
        kind, _, content = one.attributes["src"].partition(";base64,")
        data = base64.b64decode(content)
        if kind != "data:image/svg+xml":
            Image.open(io.BytesIO(data)).load()
        else:
            assert b"<svg" in data


def test_scores_and_confusion_are_those_of_the_evaluation(reported, page):
    scores = json.loads((reported / "evaluation-test.json").read_text())["models"]["head"]
    (table,) = page.all("div", aria_label="Scores")
    row = table.all("tbody")[0].all("tr")[0]
    assert row.all("td")[0].texts[0] == f"{scores['accuracy']:.4f}"
    assert row.all("td")[2].texts[0] == f"{scores['loss']:.4f}"
    (matrix,) = page.all("table", class_="matrix")
    counts = [
        [int(cell.all("button")[0].text) if cell.all("button") else 0 for cell in line.all("td")]
        for line in matrix.all("tbody")[0].all("tr")
    ]
    assert counts == scores["confusion"]


def test_a_cell_knows_its_images(reported, page):
    said = read_predictions(reported, "test")
    images, names = held(page, "images"), said.class_names.tolist()
    guesses = dict(zip(said.ids, said.probabilities["head"].argmax(1), strict=True))
    seen = 0
    for button in page.all("table", class_="matrix")[0].all("button"):
        for row in button.attributes["data-rows"].split():
            source, id = images[row]
            assert source.startswith("data:image/webp;base64,")
            assert (
                f"of {id.split('/')[0]} taken for {names[guesses[id]]}"
                in (button.attributes["data-says"])
            )
            seen += 1
    assert seen == len(said.ids)


def test_of_many_classes_the_most_frequent_mistakes_are_listed(
    reported, place, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipelines.reporting.mistakes.MATRIX_UP_TO", 1)
    said = read_predictions(reported, "test")
    wrong = replace(said, probabilities={"head": said.probabilities["head"][:, ::-1]})
    output = tmp_path / "page.html"
    save_predictions(reported, wrong)
    try:
        assert main(["report", *options(place, "--output", str(output))]) == 0
    finally:
        save_predictions(reported, said)
    page = read_page(output)
    assert not page.all("table", class_="matrix")
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (wrong.labels, wrong.probabilities["head"].argmax(1)), 1)
    pairs = {(0, 1): counts[0, 1], (1, 0): counts[1, 0]}
    expected = [
        f"{said.class_names[true]} → {said.class_names[guess]}: {count}"
        for (true, guess), count in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        if count
    ]
    buttons = page.all("ul", class_="shots pairs")[0].all("button")
    assert [button.text for button in buttons] == expected != []
    images = held(page, "images")
    for button in buttons:
        assert all(row in images for row in button.attributes["data-rows"].split())


def test_the_map_has_a_point_for_each_image(reported, page):
    said = read_predictions(reported, "test")
    points = held(page, "points")
    assert sorted(points["ids"]) == sorted(said.ids)
    circles = page.all("svg", id="map-of-images")[0].all("circle")
    wrong = [id for id, right in zip(said.ids, said.right("head"), strict=True) if not right]
    drawn = [
        id
        for id, circle in zip(points["ids"], circles, strict=True)
        if "wrong" in circle.attributes["class"].split()
    ]
    assert sorted(drawn) == sorted(wrong)
    for places in points["places"].values():
        assert np.array(places).min() >= 0
        assert np.array(places).max() <= 1000


def test_findings_and_heads_are_all_there(reported, page):
    (data,) = page.all("section", id="data")
    audit = json.loads((reported / "audit.json").read_text())
    count = sum(audit["found"].values())
    assert len(page.all("section", id="data")[0].all("ul", class_="cards")) == len(audit["found"])
    assert f"{count}" in page.all("ol", class_="strip")[0].text
    (board,) = page.all("div", aria_label="Leaderboard of the sweep")
    lines = (reported / "sweep.csv").read_text().splitlines()
    assert len(board.all("tbody")[0].all("tr")) == len(lines) - 1
    assert "of each class" in data.text


def test_nothing_heavy_runs_again(reported, place, capsys, monkeypatch):
    """A report loads no model."""
    import transfer.classifier

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(transfer.classifier, "load_classifier", never)
    before = {path.name: path.stat().st_mtime_ns for path in reported.iterdir()}
    assert main(["report", *options(place, "--output", str(place / "x.html"))]) == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in reported.iterdir()}
    assert f"report: {place / 'x.html'}" in capsys.readouterr().out


def test_what_is_of_an_older_head_is_left_out(reported, place, tmp_path, capsys):
    shutil.copytree(place, tmp_path / "copy", symlinks=True)
    run = tmp_path / "copy/artifacts/runs/run"
    told = json.loads((run / "audit.json").read_text())
    (run / "audit.json").write_text(json.dumps(told | {"features": "others"}))
    save_predictions(run, replace(read_predictions(run, "test"), head_id="another"))
    output = str(tmp_path / "page.html")
    words = ["--artifacts", str(tmp_path / "copy/artifacts"), "--run", "run", "--output", output]
    assert main(["report", *words]) == 0
    said = capsys.readouterr().out
    assert "evaluated on the test split with an older head" in said
    assert "audit is of other images" in said
    page = read_page(tmp_path / "page.html")
    assert not page.all("section", id="mistakes")
    assert "not yet" in page.all("ol", class_="strip")[0].text


@pytest.mark.parametrize(
    ("fitted_to", "shown"),
    [((45_000, 5_000), ["45,000", "5,000"]), ((60, 60), []), ((None, None), [])],
)
def test_it_says_to_how_many_images_heads_were_fitted_where_that_differs(
    reported, place, tmp_path, monkeypatch, fitted_to, shown
):
    head = {"sees": "top", "transform": "root", "penalty": 0.1, "accuracy": 0.8, "loss": 0.5}
    errors = {"accuracy_error": 0.01, "loss_error": 0.02}
    compared = [
        head | errors | {"chosen": not index} | ({"fitted_to": count} if count else {})
        for index, count in enumerate(fitted_to)  # an earlier version did not note it
    ]
    told = read_head(reported)
    told["chosen"]["compared"] = compared
    monkeypatch.setattr("pipelines.reporting.left.read_head", lambda folder: told)
    page = tmp_path / "page.html"
    assert main(["report", *options(place, "--output", str(page))]) == 0
    (table,) = read_page(page).all("div", aria_label="Heads that were compared")
    assert ("fitted to" in table.text) == bool(shown)
    cells = [cell.text.strip() for cell in table.all("td")]
    assert [cell for cell in cells if cell in ("45,000", "5,000", "60")] == shown
    assert len(table.all("th")) - 2 == len(cells) // 2 + 1, "a heading for each column"


def test_images_that_are_gone_are_told(reported, place, tmp_path, capsys):
    shutil.copytree(place / "artifacts", tmp_path / "artifacts", symlinks=True)
    run = tmp_path / "artifacts/runs/run"
    told = (run / "run.toml").read_text()
    (run / "run.toml").write_text(told.replace(str(place / "photos"), str(tmp_path / "gone")))
    words = ["--artifacts", str(tmp_path / "artifacts"), "--run", "run"]
    assert main(["report", *words]) == 0
    assert "images cannot be shown: " in capsys.readouterr().out
    page = read_page(run / "report.html")
    assert page.all("section", id="mistakes")
    assert page.all("span", class_="missing")


def test_a_run_that_stopped_after_its_features(tmp_path):
    """And names that a page must not take for its own words."""
    name = '<b>&"cat"\'</b><script>alert(1)</script>'.replace("/", "_")
    photographs(tmp_path / "photos", (name, "dog"), 6)
    words = ["--artifacts", str(tmp_path / "artifacts"), "--run", "new"]
    assert main(["features", "--data", str(tmp_path / "photos"), *words, *SMALL]) == 0
    assert main(["report", *words]) == 0
    page = read_page(tmp_path / "artifacts/runs/new/report.html")
    assert [section.attributes["id"] for section in page.all("section")] == ["summary", "data"]
    headings = [heading.text for heading in page.all("h4")]
    assert headings == sorted([name, "dog"])
    assert len(page.all("script")) == 2
    waiting = page.all("li", class_="waiting")
    assert [step.all("strong")[0].text for step in waiting] == [
        "head", "finetune", "evaluate", "audit",
    ]  # fmt: skip


@pytest.mark.parametrize("best", ["first", "last"])
def test_epochs_are_counted_as_the_head_counts_them(trained_once, tmp_path, monkeypatch, best):
    shutil.copytree(trained_once / "artifacts", tmp_path / "artifacts", symlinks=True)
    run = tmp_path / "artifacts/runs/run"
    epochs = read_head(run)["epochs"]
    number = 1 if best == "first" else epochs
    monkeypatch.setattr(
        "pipelines.reporting.left.read_head",
        lambda folder: read_head(folder) | {"best_epoch": number},
    )
    marked = []
    monkeypatch.setattr(
        "transfer.pictures.curves.plot_history",
        lambda history, path, best_epoch: marked.append(best_epoch) or path.touch(),
    )
    assert main(["report", "--artifacts", str(tmp_path / "artifacts"), "--run", "run"]) == 0
    strip = read_page(run / "report.html").all("ol", class_="strip")[0].text
    assert f"best epoch {number}" in strip
    assert marked == [number - 1]


def test_without_a_run_there_is_nothing_to_report(tmp_path, capsys):
    said = refused(capsys, "report", "--artifacts", str(tmp_path), "--run", "none")
    assert "a report expects a run in" in said
    assert "run `transfer features` first" in said


def test_nearest_rows_are_those_of_all_products(trained, place):
    key = read_head(trained)["features"]
    (path,) = (place / "artifacts/features").glob(f"{key[:16]}/features.h5")
    with FeatureFile(path, key) as features:
        rows, among = np.array([3, 30]), np.setdiff1d(np.arange(48), [3, 30])
        near = nearest_rows(features, rows, among, 4)
        values = features.read(np.arange(48), features.cuts[-1:])
        units = directions_of(values.reshape(48, -1, values.shape[-1]).mean(1))
        expected = [among[np.argsort(-(units[among] @ units[row]))[:4]] for row in rows]
        np.testing.assert_array_equal(near, expected)
        assert nearest_rows(features, rows[:0], among, 4).shape == (0, 0)
