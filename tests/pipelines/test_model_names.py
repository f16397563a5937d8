"""Names of models side by side: all different, however alike their files are called."""

from pathlib import Path

import pytest

from pipelines.model_names import named, picture_names

OWN = {"finetuned": Path("/run/finetuned.keras")}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/one.keras", "/a/two.keras"], ["one", "two"]),
        (["/a/x/classifier.keras", "/a/y/classifier.keras"], ["x/classifier", "y/classifier"]),
        (["/a/x/m.keras", "/b/x/m.keras", "/a/y/n.keras"], ["a/x/m", "b/x/m", "n"]),
        (["/a/head.keras", "/b/finetuned.keras"], ["a/head", "b/finetuned"]),
        (["/m.keras", "/a/m.keras"], ["/m.keras", "a/m"]),
        (["/a/m.keras", "/b/../a/m.keras"], ["m"]),
        (["/run/finetuned.keras", "/a/m.keras"], ["m"]),
        (["/a/m.keras", "/a/M.keras", "/b/m.keras"], ["a/m", "M", "b/m"]),
    ],
)
def test_each_model_has_a_name_of_its_own(paths, names):
    found = named(OWN, map(Path, paths))
    assert list(found) == ["finetuned", *names]
    assert len(set(found.values())) == len(found)


def test_links_have_their_own_names_and_one_file_has_one(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "classifier.keras").touch()
        (tmp_path / f"link to {folder}.keras").symlink_to(f"{folder}/classifier.keras")
    (tmp_path / "folder").symlink_to("a")
    links = [tmp_path / f"link to {folder}.keras" for folder in "ab"]
    again = [tmp_path / "folder" / "classifier.keras", links[0], tmp_path / "a/classifier.keras"]
    assert list(named({}, [*links, *again])) == ["link to a", "link to b"]


def test_pictures_have_names_that_any_disk_takes():
    names = picture_names(["head", "x/m", "x-m", "X-M", "../m", "a:b*c", "/"])
    assert list(names.values()) == ["head", "x-m", "x-m-2", "X-M-3", "m", "a-b-c", "model"]
