"""The stage: what the page is told is what predict says, and nothing is kept."""

import json
import zipfile
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main, parse
from pipelines.serve import open_server
from pipelines.serving.server import Server
from tests.pipelines.serving.asking import answering, ask, encoded, noise
from tests.pipelines.small_runs import options, refused

KEPT = ("image", "class", "probability", "top", "unknown", "strangeness", "nearest")


@pytest.fixture(scope="module")
def words(place, trained):
    """Those of a run whose head is linear, so that there is evidence."""
    asked = ["linear" if word == "run" else word for word in options(place)]
    assert main(["head", *asked]) == 0
    return ["--artifacts", str(place / "artifacts"), "--run", "linear", "--top", "2"]


@pytest.fixture(scope="module")
def server(words):
    with open_server(parse("serve", [*words, "--port", "0"])) as server, answering(server):
        yield server


def asked(server, content):
    status, _, said = ask(server, "POST", "/classify", content)
    assert status == 200, said
    return json.loads(said)


def pixels_of(uri):
    start = "data:image/jpeg;base64,"
    assert uri.startswith(start)
    with Image.open(BytesIO(b64decode(uri.removeprefix(start)))) as image:
        return np.asarray(image)


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("kind", ["small PNG", "large JPEG"])
def test_the_page_is_told_what_predict_says(server, words, place, tmp_path, kind):
    content = (place / "photos" / "dog" / "003.png").read_bytes()
    if kind == "large JPEG":  # which predict decodes at less than its size
        content = encoded(noise(700, 900), "JPEG")
    path = tmp_path / "image"
    path.write_bytes(content)
    output = tmp_path / "out.json"
    assert main(["predict", *words, "--images", str(path), "--output", str(output)]) == 0
    (entry,) = json.loads(output.read_text(encoding="utf-8"))
    assert tuple(entry) == KEPT
    said = asked(server, content)
    assert {**said, "nearest": [one["id"] for one in said["nearest"]]}.items() >= {
        name: entry[name] for name in KEPT[1:]
    }.items()
    assert set(said) == {*KEPT[1:], "picture", "evidence"}


def test_pictures_show_the_image_what_speaks_for_it_and_what_is_near(server, place):
    content = encoded(noise(700, 900))
    said = asked(server, content)
    picture, evidence = pixels_of(said["picture"]), pixels_of(said["evidence"])
    assert picture.shape == evidence.shape == (498, 640, 3)
    assert evidence.mean() < 0.8 * picture.mean()  # dark but where something speaks
    red = evidence.astype(float)
    assert (red[..., 0] - red[..., 2]).mean() > 3
    learned = place / "photos" / "cat" / "000.png"
    near = asked(server, learned.read_bytes())["nearest"]
    assert len(near) == 3
    for one in near:
        with Image.open(place / "photos" / one["id"]) as image:
            theirs = np.asarray(image.convert("RGB"), float)
        assert np.abs(pixels_of(one["picture"]) - theirs).mean() < 30


def test_nothing_is_written_and_nothing_said(server, place, capfd):
    before = contents(place)
    for content in (encoded(noise(20, 24)), b"no image"):
        ask(server, "POST", "/classify", content)
    ask(server, "GET", "/")
    assert contents(place) == before
    assert capfd.readouterr() == ("", "")


def test_a_classifier_of_no_run_says_what_is_left_out(trained, tmp_path, capsys, monkeypatch):
    """One that knows nothing, as earlier versions saved it, and has hidden layers."""
    model = tmp_path / "old <1>.keras"
    with zipfile.ZipFile(trained / "classifier.keras") as file, zipfile.ZipFile(model, "w") as old:
        for name in file.namelist():
            if name != "knowledge.npz":
                old.writestr(name, file.read(name))
    (tmp_path / "report.html").write_text("of nobody", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with open_server(parse("serve", ["--model", str(model), "--port", "0"])) as server:
        assert capsys.readouterr().out == ""  # it goes on with no run
        with answering(server):
            said = asked(server, encoded(noise(20, 24)))
            page = ask(server, "GET", "/")[2].decode()
    assert said.keys() == {"class", "probability", "top", "picture", "evidence", "nearest"}
    assert "old &lt;1&gt;.keras does not say what it knows" in page
    assert "/report" not in page


def test_it_says_where_it_is_and_ctrl_c_ends_it(words, capsys, monkeypatch):
    def stopped(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stopped)
    capsys.readouterr()
    assert main(["serve", *words, "--port", "0"]) == 0
    said = capsys.readouterr()
    goes_on, where = said.out.splitlines()
    assert goes_on.startswith("serve: goes on with run linear: ")
    port = where.removeprefix("serve: http://127.0.0.1:").removesuffix("/ (Ctrl-C stops)")
    assert port.isdigit()
    assert said.err == ""


def test_mistakes_are_one_line(words, server, tmp_path, capsys):
    taken = str(server.server_port)
    assert f"received {taken}: Address already in use" in refused(
        capsys, "serve", *words, "--port", taken
    )
    assert "0 to 65535" in refused(capsys, "serve", *words, "--port", "65536")
    assert "--top expects at least 1" in refused(capsys, "serve", *words, "--top", "0")
    nothing = ["--artifacts", str(tmp_path)]
    assert "expected a classifier at" in refused(capsys, "serve", *nothing)
    assert "expected a classifier at" in refused(capsys, "serve", "--model", "gone.keras")
