"""Structuring: said first, done then."""

from pipelines.cli import main
from tests.pipelines.small_runs import photographs


def test_structure_says_what_it_would_do_before_it_does_it(tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photographs(tmp_path / "photos", count=3).rglob("*.png"):
        path.rename(flat / f"{path.parent.name}.{path.name}")
    arguments = ["structure", "--source", str(flat), "--target", str(tmp_path / "sorted")]
    assert main(arguments) == 0
    assert "would copy 6 files" in capsys.readouterr().out
    assert not (tmp_path / "sorted").exists()
    assert main([*arguments, "--apply"]) == 0
    assert len(list((tmp_path / "sorted" / "dog").iterdir())) == 3
