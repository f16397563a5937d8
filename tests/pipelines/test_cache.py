"""`transfer cache` as a user types it, on an entry that a real extraction made."""

import json
import os
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from cache import FeatureFile
from pipelines.cli import main
from pipelines.sweeping.journal import Entry, Journal
from tests.cache.test_verify import chunk_offset
from tests.pipelines.small_runs import SMALL, photographs, refused

SHARES = ["--val-fraction", "0.3", "--test-fraction", "0.3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    photographs(folder / "photos", count=6)
    assert extract(folder) == 0
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of the store; the images stay where they are."""
    shutil.copytree(made / "artifacts", tmp_path / "artifacts")
    return tmp_path


def extract(place, *more, data="photos"):
    where = ["--data", str(place / data), "--artifacts", str(place / "artifacts")]
    return main(["features", *where, *SMALL, *SHARES, *more])


def cache(place, *words):
    return main(["cache", *words, "--artifacts", str(place / "artifacts")])


def entry(place):
    (folder,) = (place / "artifacts" / "features").iterdir()
    return folder


def flip(path, cut, row):
    offset = chunk_offset(path, cut, row)
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def test_list_and_show(place, capsys):
    assert cache(place, "list", "--json") == 0
    (one,) = printed(capsys)
    with FeatureFile(entry(place) / "features.h5") as features:
        assert one["key"] == features.key
        widths = sum(features.shape(cut)[0] for cut in features.cuts)
    assert (one["state"], one["images"], one["values_per_row"]) == ("sealed", 12, widths)
    assert one["bytes"] == sum(path.stat().st_size for path in entry(place).rglob("*"))
    assert cache(place, "show", one["key"][:6], "--json") == 0
    (shown,) = printed(capsys)
    assert shown["spec"]["backbone"] == "MobileNetV2"
    assert set(shown["cuts"]) == {"block_1_depthwise_relu", "block_2_add"}
    assert shown["about"]["backbone"]["image_size"] == 32
    assert cache(place) == 0
    assert "1 entries" in capsys.readouterr().out


def test_looking_after_the_store_imports_no_keras(place, searched):
    store = str(place / "artifacts")
    program = (
        "import sys; from pipelines.cli import main\n"
        "for word in ('list', 'verify', 'prune', 'forget'):\n"
        f"    main(['cache', word, '--artifacts', {store!r}])\n"
        "print({'keras', 'tensorflow', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_unknown_keys_are_refused(place, capsys):
    assert entry(place).name in refused(capsys, "cache", "show", "zz", "--artifacts",
                                        str(place / "artifacts"))  # fmt: skip
    assert "expects keys" in refused(capsys, "cache", "remove")
    assert "takes no keys" in refused(capsys, "cache", "prune", "a")
    assert "--repair belongs to verify" in refused(capsys, "cache", "prune", "--repair")
    assert "at least 0" in refused(capsys, "cache", "verify", "--sample", "-1")
    assert "received 'x'" in refused(capsys, "cache", "verify", "x", "--artifacts", "nowhere")


def test_damage_is_named_refused_and_mended_to_the_same_bytes(place, capsys):
    path = entry(place) / "features.h5"
    whole = path.read_bytes()
    assert cache(place, "verify") == 0
    flip(path, "block_2_add", 7)
    said = refused(capsys, "cache", "verify", "--artifacts", str(place / "artifacts"))
    assert "not sound" in said and "--repair" in said
    assert cache(place, "verify", "--json") == 2
    (one,) = printed(capsys)
    assert one["problems"] == ["block_2_add: 1 row (7: dog/001.png) damaged"]
    assert cache(place, "verify", "--repair") == 0
    out = capsys.readouterr().out
    assert "11 rows are in the store already" in out
    assert "1 of 2 cuts are in the store already" in out
    assert path.read_bytes() == whole
    assert not (entry(place) / "damaged.h5").exists()


@pytest.mark.parametrize("left", [0, 100, 3000])
def test_a_truncated_file_is_mended(place, capsys, left):
    path = entry(place) / "features.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    assert cache(place, "list", "--json") == 0
    assert printed(capsys)[0]["state"] == "unreadable"
    assert cache(place, "verify", "--repair", "--json") == 0
    assert printed(capsys)[0]["repaired"]
    assert path.read_bytes() == whole


def test_repair_killed_in_the_middle_is_taken_up_by_the_next_run(place, made):
    path = entry(place) / "features.h5"
    whole = path.read_bytes()
    flip(path, "block_2_add", 7)
    path.replace(path.with_name("damaged.h5"))
    where = ["--data", str(made / "photos"), "--artifacts", str(place / "artifacts")]
    assert main(["features", *where, *SMALL, *SHARES]) == 0
    assert path.read_bytes() == whole


def test_parts_left_by_a_kill_after_sealing_are_cleared_up(place, made, capsys):
    parts = entry(place) / "parts"
    parts.mkdir()
    (parts / "0000000000.h5").write_bytes(b"left")
    (entry(place) / ".features.h5.host.1.tmp").write_bytes(b"left")
    path = entry(place) / "features.h5"
    whole = path.read_bytes()
    where = ["--data", str(made / "photos"), "--artifacts", str(place / "artifacts")]
    assert main(["features", *where, *SMALL, *SHARES]) == 0
    assert "cached in" in capsys.readouterr().out
    names = {path.name for path in entry(place).iterdir()}
    assert names == {"features.h5", "about.json", ".lock"}
    assert path.read_bytes() == whole


def test_repair_needs_the_images(place, capsys, tmp_path):
    about = entry(place) / "about.json"
    facts = json.loads(about.read_text())
    facts["data"]["data"] = str(photographs(tmp_path / "others", count=5))
    about.write_text(json.dumps(facts))
    path = entry(place) / "features.h5"
    flip(path, "block_2_add", 7)
    where = ["--artifacts", str(place / "artifacts")]
    said = refused(capsys, "cache", "verify", "--repair", *where)
    assert "data differs" in said and "--data" in said
    about.unlink()
    assert "about.json" in refused(capsys, "cache", "verify", "--repair", *where)
    assert path.exists()


def test_repair_finds_moved_images(place, made, capsys, tmp_path):
    moved = shutil.copytree(made / "photos", tmp_path / "moved")
    about = entry(place) / "about.json"
    facts = json.loads(about.read_text())
    facts["data"]["data"] = "/gone"
    about.write_text(json.dumps(facts))
    path = entry(place) / "features.h5"
    whole = path.read_bytes()
    flip(path, "block_2_add", 7)
    assert cache(place, "verify", "--repair", "--data", str(moved)) == 0
    assert path.read_bytes() == whole


def test_a_sample_is_extracted_again_and_compared(place, capsys):
    assert cache(place, "verify", "--sample", "5", "--json") == 0
    assert 0 <= printed(capsys)[0]["difference"] < 1e-4
    # A file that is sound by its checksums, but whose values are not the backbone's.
    path = entry(place) / "features.h5"
    replace_values(path)
    assert cache(place, "verify") == 0
    said = refused(capsys, "cache", "verify", "--sample", "5", "--artifacts",
                   str(place / "artifacts"))  # fmt: skip
    assert "differs by" in said and ".png" in said


def replace_values(path):
    """Seals other values under the same key."""
    from cache import FeatureWriter

    with FeatureFile(path) as old:
        shapes = {cut: old.shape(cut) for cut in old.cuts}
        tables = {
            "labels": old.labels,
            "given_split": old.given_split.tolist(),
            "class_names": old.class_names,
            "image_digests": old.image_digests,
        }
        spec, ids = old.spec, list(old.ids)
    path.unlink()
    writer = FeatureWriter(path.parent.parent, spec, ids, shapes)
    writer.write(
        np.arange(len(ids)),
        {cut: np.full((len(ids), *shape), 7, np.float32) for cut, shape in shapes.items()},
    )
    writer.seal(**tables)


def test_images_added_removed_and_relabelled_are_all_that_is_run(place, made, capsys, tmp_path):
    photos = shutil.copytree(made / "photos", tmp_path / "photos")
    (photos / "cat" / "000.png").rename(photos / "dog" / "relabelled.png")
    (photos / "cat" / "001.png").unlink()
    Image.fromarray(np.full((20, 24, 3), 77, np.uint8)).save(photos / "cat" / "new.png")
    assert extract(place) == 0
    out = capsys.readouterr().out
    assert "11 rows are in the store already" in out
    assert "the nearest there: data differs" in out
    assert cache(place, "verify", "--sample", "12") == 0
    names = [path.name for path in (place / "artifacts" / "features").iterdir()]
    assert len(names) == 2


def test_prune_removes_what_another_entry_holds_whole(place, made, capsys):
    where = ["--data", str(made / "photos"), "--artifacts", str(place / "artifacts")]
    narrow = [*SMALL[: SMALL.index("--cut")], "--cut", "block_2_add"]
    assert main(["features", *where, *narrow, *SHARES]) == 0
    assert "12 rows are in the store already" in capsys.readouterr().out
    assert cache(place, "prune", "--dry-run", "--json") == 0
    (doomed,) = printed(capsys)
    assert doomed["values_per_row"] == 8 and not doomed["removed"]
    assert cache(place, "prune") == 0
    assert entry(place)  # one is left
    assert "held whole by" in capsys.readouterr().out
    assert cache(place, "prune", "--json") == 0
    assert printed(capsys) == []


def test_an_entry_that_cannot_be_mended_does_not_keep_others_from_it(place, made, capsys):
    where = ["--data", str(made / "photos"), "--artifacts", str(place / "artifacts")]
    hopeless = entry(place)
    assert main(["features", *where, *SMALL, *SHARES, "--pooling", "max"]) == 0
    (other,) = [path for path in hopeless.parent.iterdir() if path != hopeless]
    whole = (other / "features.h5").read_bytes()
    (hopeless / "about.json").unlink()
    for folder in (hopeless, other):
        flip(folder / "features.h5", "block_2_add", 7)
    said = refused(capsys, "cache", "verify", "--repair", *where[2:])
    assert f"1 of 2 entries are not sound: {hopeless.name}" in said
    assert (other / "features.h5").read_bytes() == whole


def test_a_refused_run_leaves_no_entry(place, made, capsys):
    where = ["--data", str(made / "photos"), "--artifacts", str(place / "artifacts")]
    words = [*where, *SMALL[: SMALL.index("--cut")], *SHARES, "--cut", "nonsense"]
    assert "nonsense" in refused(capsys, "features", *words)
    assert cache(place, "list", "--json") == 0
    assert len(printed(capsys)) == 1


def test_prune_and_remove(place, capsys):
    path = entry(place) / "features.h5"
    old = time.time() - 10 * 86_400
    for file in entry(place).iterdir():
        os.utime(file, (old, old))
    assert cache(place, "prune", "--older-than", "11", "--json") == 0
    assert printed(capsys) == [] and path.exists()
    assert cache(place, "remove", path.parent.name[:5], "--dry-run") == 0
    assert path.exists()
    assert cache(place, "prune", "--older-than", "9") == 0
    assert not path.parent.exists()
    assert "10 d old" in capsys.readouterr().out


def test_images_that_change_meanwhile_are_refused(tmp_path, capsys, monkeypatch):
    photos = photographs(tmp_path / "photos", count=6)
    from transfer.extraction.keras_engine import KerasEngine

    run = KerasEngine.run

    def change_and_run(self, batches):
        (photos / "cat" / "000.png").write_bytes((photos / "dog" / "000.png").read_bytes())
        return run(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(KerasEngine, "run", change_and_run)
        assert extract(tmp_path) == 2
    assert "changed while features were extracted (data differs" in capsys.readouterr().err
    assert not list((tmp_path / "artifacts").rglob("*.h5"))
    assert extract(tmp_path) == 0
    assert cache(tmp_path, "verify", "--sample", "12") == 0


def test_weights_that_change_meanwhile_are_refused(tmp_path, capsys, monkeypatch):
    from transfer.backbones.building import build_backbone
    from transfer.backbones.options import BackboneOptions
    from transfer.extraction.keras_engine import KerasEngine

    photographs(tmp_path / "photos", count=6)
    options = BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)
    weights = tmp_path / "mine.weights.h5"
    build_backbone(options).save_weights(weights)
    run = KerasEngine.run

    def change_and_run(self, batches):
        weights.write_bytes(weights.read_bytes() + b"more")
        return run(self, batches)

    monkeypatch.setattr(KerasEngine, "run", change_and_run)
    assert extract(tmp_path, "--weights", str(weights)) == 2
    assert "weights differ" in capsys.readouterr().err


def test_folders_of_others_are_left_alone(place, capsys):
    other = entry(place).parent / "my-notes"
    link = other.with_name("a" * 16)
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    os.utime(other / "thesis.txt", (0, 0))
    link.symlink_to(other)
    assert cache(place, "prune", "--older-than", "1") == 0
    assert (other / "thesis.txt").read_text() == "years of work"
    assert link.is_symlink()
    refused(capsys, "cache", "remove", "my-notes", "--artifacts", str(place / "artifacts"))


def test_prune_never_gives_up_an_entry_for_one_that_goes_or_is_damaged(place, made, capsys):
    large = entry(place)
    where = ["--data", str(made / "photos"), "--artifacts", str(place / "artifacts")]
    narrow = [*SMALL[: SMALL.index("--cut")], "--cut", "block_2_add"]
    assert main(["features", *where, *narrow, *SHARES]) == 0
    (small,) = [path for path in large.parent.iterdir() if path != large]
    for file in large.iterdir():
        os.utime(file, (0, 0))
    capsys.readouterr()
    assert cache(place, "prune", "--older-than", "1", "--dry-run", "--json") == 0
    (doomed,) = printed(capsys)
    assert doomed["key"].startswith(large.name)
    flip(large / "features.h5", "block_2_add", 3)
    assert cache(place, "prune", "--json") == 0
    assert printed(capsys) == []
    assert small.exists()


def test_keys_given_twice_and_foreign_facts(place, capsys):
    (entry(place) / "about.json").write_text("[]")
    assert cache(place, "list", "--json") == 0
    (one,) = printed(capsys)
    assert one["data"] == ""
    (entry(place) / "about.json").write_text('{"data": {}, "backbone": {"nonsense": 1}}')
    said = refused(capsys, "cache", "verify", "--sample", "1", *artifacts(place))
    assert "another version" in said
    assert cache(place, "remove", one["key"][:6], one["key"][:9], "--json") == 0
    assert len(printed(capsys)) == 1


def test_an_entry_at_work_is_not_removed(place, capsys):
    from cache import entry_lock

    with entry_lock(entry(place), lambda holder: None) as held:
        assert held
        said = refused(capsys, "cache", "remove", entry(place).name, *artifacts(place))
    assert f"is being written by process {os.getpid()}" in said
    assert (entry(place) / "features.h5").exists()


def test_an_interrupted_repair_is_not_overlooked(place, capsys):
    path = entry(place) / "features.h5"
    path.rename(path.with_name("damaged.h5"))
    assert "not sound" in refused(capsys, "cache", "verify", *artifacts(place))
    assert cache(place, "verify", "--repair") == 0
    assert path.exists() and not path.with_name("damaged.h5").exists()


# ---- what sweeps wrote down


@pytest.fixture
def searched(place):
    """Two runs with journals: two of three groups, and one of one, are of another search."""
    for run, keys, last in [("first", "abc", "a"), ("second", "d", "e")]:
        journal = Journal(place / "artifacts" / "runs" / run / "sweep")
        for key in keys:
            journal.write(key, Entry({}, [{"weights.0": np.zeros(100)}]))
        journal.begin(last)
    (place / "artifacts" / "runs" / "a-link").symlink_to("first", target_is_directory=True)
    (place / "artifacts" / "runs" / "without").mkdir()
    return place


def written_down(place):
    return sorted(path.stem for path in (place / "artifacts" / "runs").rglob("*.npz"))


def test_list_says_what_sweeps_wrote_down(searched, capsys):
    size = (searched / "artifacts" / "runs" / "first" / "sweep" / "a.npz").stat().st_size
    assert cache(searched, "list", "--json") == 0
    features, *journals = printed(capsys)
    assert features["state"] == "sealed"
    names = "run", "files", "bytes", "files_of_other_searches", "bytes_of_other_searches"
    assert journals == [
        dict(zip(names, values, strict=True))
        for values in [("first", 3, 3 * size, 2, 2 * size), ("second", 1, size, 1, size)]
    ]
    assert cache(searched) == 0
    said = capsys.readouterr().out
    assert "1 entries" in said and "first" in said and "a-link" not in said
    assert (
        f"cache: 2 journals, {4 * size / 1024:.1f} KiB, of which {3 * size / 1024:.1f} KiB" in said
    )


def test_forget_removes_what_other_searches_wrote_down(searched, capsys):
    assert cache(searched, "forget", "--dry-run") == 0
    assert "would remove 2 files of the journal of first" in capsys.readouterr().out
    assert written_down(searched) == ["a", "b", "c", "d"]
    assert cache(searched, "forget", "first", "--json") == 0
    (one,) = printed(capsys)
    assert (one["run"], one["files"], one["removed"]) == ("first", 2, True)
    assert written_down(searched) == ["a", "d"]
    assert cache(searched, "forget") == 0
    said = capsys.readouterr().out
    assert "removed 1 file of the journal of second" in said and "first" not in said
    assert cache(searched, "forget") == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert cache(searched, "forget", "--all") == 0
    assert written_down(searched) == []
    assert (entry(searched) / "features.h5").exists()


def test_forget_refuses_runs_without_journals(searched, capsys):
    said = refused(capsys, "cache", "forget", "without", *artifacts(searched))
    assert "received 'without'; there are first, second" in said
    assert "--all belongs to forget" in refused(capsys, "cache", "prune", "--all")
    assert "there are none" in refused(capsys, "cache", "forget", "x", "--artifacts", "nowhere")


def test_what_a_sweep_at_work_wrote_down_is_not_forgotten(searched, capsys):
    with Journal(searched / "artifacts" / "runs" / "first" / "sweep").locked(lambda holder: None):
        said = refused(capsys, "cache", "forget", "first", "--all", *artifacts(searched))
    assert f"run first is being searched by process {os.getpid()}" in said
    assert written_down(searched) == ["a", "b", "c", "d"]


def artifacts(place):
    return ["--artifacts", str(place / "artifacts")]


def test_features_that_refer_to_their_parts_are_read_verified_and_mended(tmp_path, capsys):
    photographs(tmp_path / "photos", count=6)
    (tmp_path / "photos" / "cat" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    skip = ["--bad-images", "skip"]
    assert extract(tmp_path, *skip) == 0
    path = entry(tmp_path) / "features.h5"
    with FeatureFile(path) as features:
        copied = features.read(np.arange(11))
    shutil.rmtree(path.parent)
    assert extract(tmp_path, *skip, "--seal", "reference") == 0
    assert extract(tmp_path, *skip) == 0
    assert "cached in" in capsys.readouterr().out.splitlines()[-1]
    part = path.parent / "rows" / "0000000000.h5"
    whole = path.read_bytes(), part.read_bytes()
    with FeatureFile(path) as features:
        assert features.by_reference
        np.testing.assert_array_equal(features.read(np.arange(11)), copied)
    with h5py.File(part) as file:
        place = file["block_2_add"].id.get_offset()
        row_bytes = file["block_2_add"][0].nbytes
    content = bytearray(whole[1])
    content[place + 4 * row_bytes + 1] ^= 1
    part.write_bytes(content)
    assert cache(tmp_path, "verify") == 2
    said = capsys.readouterr()
    assert "block_2_add: 1 row (3: cat/004.png) damaged" in said.out + said.err
    assert cache(tmp_path, "verify", "--repair") == 0
    assert (path.read_bytes(), part.read_bytes()) == whole
    assert {each.name for each in path.parent.iterdir()} == {
        *("features.h5", "rows", "about.json", ".lock")
    }
    said = refused(capsys, "features", "--seal", "reference", "--compression", "zstd")
    assert "--compression none" in said
