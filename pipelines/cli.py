"""The command line: `transfer <stage> [options]`."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pipelines.home import PATHS, at_home, with_homes
from pipelines.stages import STAGES, module_of
from pipelines.terminal import complain, lasting_streams, warnings_in_a_line
from transfer.names import shown

if TYPE_CHECKING:
    from pipelines.runs import Source

USAGE = """usage: transfer <stage> [DATA or IMAGES] [--recipe NAME] [--run NAME] [options]

Transfer learning on cached features: the backbone runs once, heads train in seconds.

stages:
{stages}

`transfer <stage> --help` lists a stage's options; after features, they are those of the last run.
recipes: {recipes}
"""

OF_DATA = ("features", "head", "rates", "sweep", "finetune", "audit", "doctor", "all")
OPERANDS = dict.fromkeys(OF_DATA, "data") | {"predict": "images"}
"""The option that words in front of all flags are meant for: `transfer predict new/*.jpg`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one stage.

    Args:
        arguments: Words after the program's name; by default those of this process.

    Returns:
        Exit status: 0, or 2 after an error that the user can mend, 130 after Ctrl-C.
    """
    if arguments is None:
        _start_in_utf8()
    with lasting_streams():
        return _run(list(sys.argv[1:] if arguments is None else arguments))


def _start_in_utf8() -> None:
    """Begins again in Python's UTF-8 mode where names of files would depend on the locale.

    Ids are such names, and workers must see the same. Python 3.15 has no other mode.
    """
    wanted = {"PYTHONUTF8": "1"}
    if sys.getfilesystemencoding() != "utf-8" and not wanted.items() <= os.environ.items():
        os.execve(sys.executable, sys.orig_argv, os.environ | wanted)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if words[0] not in STAGES:
        expected = ", ".join(STAGES)
        complain(f"transfer: expected a stage ({expected}), received {words[0]!r}")
        return 2
    # TensorFlow's start-up chatter would drown what we have to say.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from cache.errors import CacheError
    from transfer.errors import InputError

    try:
        options = parse(words[0], words[1:])
        with warnings_in_a_line(words[0]):
            import_module(module_of(words[0])).run(_settled(options))
    except (InputError, CacheError) as error:
        complain(f"transfer {words[0]}: {error}")
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        complain(
            f"transfer {words[0]}: expected to read and write {error.filename}, received: "
            f"{error.strerror}; check it, or choose another --artifacts"
        )
        return 2
    except KeyboardInterrupt:
        complain(f"transfer {words[0]}: interrupted; the same command goes on")
        return 130
    return 0


def _settled(options: Any) -> Any:
    """Options that leave nothing open about what features are made of."""
    setup = getattr(options, "setup", None)
    if setup is None or setup.precision != "auto":
        return options
    from pipelines.extracting.arithmetic import settled

    return replace(options, setup=settled(setup))


def _usage() -> str:
    from pipelines.recipes import names

    stages = "\n".join(f"  {name:11} {purpose}" for name, (_, purpose) in STAGES.items())
    return USAGE.format(stages=stages, recipes=", ".join(names()))


def parse(stage: str, words: Sequence[str]) -> object:
    """Reads a stage's options: its defaults, then those of recipe or run, then the flags.

    Says so where it goes on with a run.

    Raises:
        InputError: If an option is unknown or a value does not fit; one line.
        SystemExit: After `--help`.
    """
    from pipelines.runs import Source, source_of

    options = getattr(import_module(module_of(stage)), STAGES[stage][0])
    words = _with_operand(stage, words)
    default, flags = options(), _flags(words)
    source = source_of(stage, flags) if hasattr(default, "setup") else Source()
    if source.tables:
        default = _filled(default, source, stage, flags)
    parsed = with_homes(_parsed(options, words, default, stage))
    if source.run:
        setup = parsed.setup
        remembered = "".join(f", {name} {value}" for name, value in _changed(options(), default))
        print(
            shown(
                f"{stage}: goes on with {source.name}: data {setup.data.data}, "
                f"backbone {setup.backbone.backbone}{remembered}"
            )
        )
    return parsed


def _changed(default: Any, filled: Any) -> Iterator[tuple[str, Any]]:
    """A stage's own options that differ from their defaults, by name."""
    for option in fields(default):
        one, other = getattr(default, option.name), getattr(filled, option.name)
        if option.name == "setup" or one == other:
            continue
        if is_dataclass(one):
            yield from _changed(one, other)
        else:
            value = " ".join(map(str, other)) if isinstance(other, tuple) else other
            yield f"--{option.name.replace('_', '-')}", value


def _filled(default: Any, source: "Source", stage: str, flags: dict[str, str]) -> Any:
    from pipelines.recipes import fill
    from pipelines.recipes.layers import check_layers

    filled = fill(default, source.tables, stage)
    backbone = flags.get("backbone", filled.setup.backbone.backbone)
    given = {flag.replace("-", "_") for flag in flags}
    check_layers(source.tables, source.name, stage, backbone, given)
    return replace(filled, setup=replace(filled.setup, run=source.run)) if source.run else filled


def _parsed(options: type, words: Sequence[str], default: Any, stage: str) -> Any:
    import tyro

    from transfer.errors import InputError

    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            return tyro.cli(
                options,
                args=words,
                default=default,
                prog=f"transfer {stage}",
                description=options.__doc__,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        message = _first_paragraph(complaints.getvalue())
        message = message.removeprefix(f"Error parsing {options.__name__}: ")
        raise InputError(f"{message} (see transfer {stage} --help)") from None


def _with_operand(stage: str, words: Sequence[str]) -> Sequence[str]:
    """The words with the flag that those in front of the first one are meant for."""
    is_flag = words and words[0].startswith("-") and words[0] != "-"  # which is standard input
    if not words or is_flag or stage not in OPERANDS:
        return words
    return [f"--{OPERANDS[stage]}", *words]


def _flags(words: Sequence[str]) -> dict[str, str]:
    """Flags with the word behind each; some decide on the defaults that the parser starts from."""
    flags = {}
    for word, following in pairwise([*words, ""]):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            value = value if equals else following
            flags[name.replace("_", "-")] = at_home(value) if name in PATHS else value
    return flags


def _first_paragraph(boxed: str) -> str:
    lines = []
    for line in boxed.splitlines()[1:]:
        text = line.strip("│ ╭╮╰╯")
        if not text or set(text) == {"─"}:
            break
        lines.append(text)
    return " ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
