"""Commands in the documents: each one parses, and those on bundled data run.

What runs can be told from the document: commands in a block whose data are `digits` or `photos`,
and those that sort `flat` or look after the store. `photos`, `new` and `flat` stand for the
reader's own and are made of digits here. Commands run as written but for `SMALLER`, which makes
them quick; those of one document run in order, in a folder of its own, where its TOML blocks lie
under the names in their first lines.
"""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import STAGES, main, parse
from pipelines.sweep import read_trials
from tests.docs.documents import DOCUMENTS, blocks, commands, name_of
from tests.places import PROJECT
from transfer.errors import InputError

MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
VARIABLES = {*re.findall(r"(\w+)=", re.search(r"variables: (.*)'", MAKEFILE)[1]), "IMAGES", "RUNS"}
COMMANDS = [command for document in DOCUMENTS for command in commands(document)]
TYPED = [command for command in COMMANDS if command.in_block]
BUNDLED = ("digits", "photos")
TESTED_ELSEWHERE = ("all", "doctor", "serve")
"""Stages that tests/pipelines has files for: they would take long here, ask servers, or be one."""
FEW_IMAGES = [
    *["--image-size", "32", "--limit-per-class", "20", "--engine", "keras", "--jobs", "1"],
    *["--val-fraction", "0.3", "--test-fraction", "0.2", "--precision", "float32"],
]
FEW_LAYERS = ["--cut", "block2b_add"]
SMALLER = {
    "features": FEW_IMAGES,
    "head": [*FEW_IMAGES, *FEW_LAYERS, "--epochs", "2"],
    "rates": [*FEW_IMAGES, *FEW_LAYERS, "--number", "3"],
    "sweep": [
        *[*FEW_IMAGES, *FEW_LAYERS, "--epochs", "2", "--folds", "2"],
        *["--grid", "hidden=0", "l2=0.001,0.01"],
    ],
    "finetune": [*FEW_IMAGES, *FEW_LAYERS, "--epochs", "1", "--unfreeze", "2"],
    "backbones": ["--image-size", "32"],
    "evaluate": [*FEW_IMAGES, *FEW_LAYERS, "--no-pictures"],
    "export": FEW_IMAGES,
    "bench-model": ["--seconds", "0.01"],
}
"""What is added to the flags of a stage."""
KEY = "3f2a"
"""Stands for the key of an entry."""


def stages_of(command):
    """What a command comes to: stages with their flags; make's other targets come to none."""
    program, *words = command.words
    if program == "transfer":
        return [(words[0], words[1:])] if words and words[0] != "--help" else []
    # What make says it would do; neither variables nor switches of a make around the tests count.
    # It is run where the reader is, for it looks there for the last run.
    make = ["make", f"--makefile={PROJECT / 'Makefile'}", "--dry-run", "VENV=.venv"]
    done_before = ("setup", "setup-dev", ".venv-bench/.installed")
    dry_run = [*make, *(f"--old-file={one}" for one in done_before), *words]
    done = subprocess.run(dry_run, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    lines = re.findall(r"^\.venv/bin/transfer (.*)$", done.stdout, re.MULTILINE)
    return [(stage, flags) for stage, *flags in map(words_of, lines)]


def words_of(line):
    """As a shell splits a line."""
    shell = ["sh", "-c", f"printf '%s\\n' {line}"]
    return subprocess.run(shell, capture_output=True, text=True, check=True).stdout.splitlines()


def options_of(stage, flags):
    """A stage's options, or None where help is asked for."""
    if {"-h", "--help"} & set(flags):
        with pytest.raises(SystemExit):
            parse(stage, flags)
        return None
    return parse(stage, flags)


def write_recipes(document, folder):
    """Puts the document's TOML blocks where its commands look for them."""
    for block in blocks(document):
        if block.language == "toml":
            name = re.match(r"# ([\w-]+\.toml)\n", block.text)
            assert name, f"{block.place}: expected a first line such as `# mine.toml`"
            (folder / name[1]).write_text(block.text)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store of features for all documents."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def place(tmp_path, monkeypatch, store):
    """Where a reader may be: photographs, and results of earlier days."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label, name in enumerate(("cat", "dog")):
        levels = digits.images[digits.target == label][:24]
        for number, image in enumerate(np.kron(levels * 15.9, np.ones((4, 4))).astype(np.uint8)):
            paths = [f"photos/{name}s/{number}.jpg"]
            paths += [f"flat/{name}.{number}.jpg", f"new/{name}-{number}.jpg"] * (number < 3)
            for path in paths:
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(tmp_path / path)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "features").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands_of_all_stages():
    # A reader of documents that finds nothing would pass all tests below.
    named = {stage for command in TYPED for stage, _ in stages_of(command)}
    assert named >= {*STAGES}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_parses(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recipes(document, tmp_path)
    for command in commands(document):
        if command.words[0] == "make":
            names = [word.split("=")[0] for word in command.words[1:] if "=" in word]
            targets = [word for word in command.words[1:] if "=" not in word]
            assert set(names) <= VARIABLES, str(command)
            assert set(targets) <= TARGETS, str(command)
        for stage, flags in stages_of(command):
            assert stage in STAGES, str(command)
            try:
                options = options_of(stage, flags)
                if stage == "sweep" and options and options.grid:
                    assert len(read_trials(options)) > 1
            except InputError as error:
                pytest.fail(f"{command}: {error}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_on_bundled_data_run(document, place, capsys):
    write_recipes(document, place)
    done = []
    for command in commands(document):
        for stage, flags in stages_of(command) if command.in_block else ():
            if not is_bundled(options_of(stage, flags)) or stage in TESTED_ELSEWHERE:
                continue
            words = [stage, *with_a_key(flags, place), *SMALLER.get(stage, [])]
            if words in done:  # said once for make, once for transfer
                continue
            done.append(words)
            status, said = main(words), capsys.readouterr()
            assert status == 0, f"{command}\nran as {words}\n{said.err}"
            assert said.out, f"{command} printed nothing"


def is_bundled(options):
    """Whether a stage's data are here, or it needs none."""
    if options is None:
        return False
    bundled = {Path(data).resolve() for data in BUNDLED}  # a run remembers absolute paths
    return not hasattr(options, "setup") or Path(options.setup.data.data).resolve() in bundled


def with_a_key(flags, place):
    """The flags with an entry's key in place of the documents'."""
    if KEY not in flags:
        return flags
    key = min(path.name for path in (place / "artifacts" / "features").iterdir())
    return [key[:8] if flag == KEY else flag for flag in flags]


def test_benchmarks_and_modules_that_documents_name_exist():
    benchmarks = (PROJECT / "tests" / "benchmarks" / "__main__.py").read_text()
    subjects = set(re.findall(r'^    "(\w+)": ', benchmarks, re.MULTILINE)) | {"quick"}
    for command in TYPED:
        if "bench" in command.words:
            asked = [word[5:].split() for word in command.words if word.startswith("ARGS=")]
            assert {subject for words in asked for subject in words} <= subjects, str(command)
    for document in DOCUMENTS:
        for module in re.findall(r"python -m ([\w.]+)", document.read_text()):
            path = PROJECT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
