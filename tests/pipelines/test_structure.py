"""Structuring: said first, done then."""

from pipelines.cli import main
from tests.pipelines.small_runs import photographs


def test_structure_says_what_it_would_do_before_it_does_it(tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photographs(tmp_path / "photos", count=3).rglob("*.png"):
        path.rename(flat / f"{path.parent.name}.{path.name}")
    arguments = ["structure", "--source", str(flat), "--target", str(tmp_path / "sorted")]
    for name in ("readme.txt", "._cat.000.png"):
        (flat / name).write_text("")
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "would copy 6 files" in said
    assert "structure: left out 1 .txt, 1 hidden file\n" in said
    assert not (tmp_path / "sorted").exists()
    assert main([*arguments, "--apply"]) == 0
    assert len(list((tmp_path / "sorted" / "dog").iterdir())) == 3
