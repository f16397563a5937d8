"""The hooks before a commit are what `make check` runs."""

import re

from tests.places import PROJECT


def test_hooks_run_what_make_check_runs():
    makefile = (PROJECT / "Makefile").read_text()
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    checks = [line.strip("\t@").replace("$(VENV)", ".venv") for line in recipe.splitlines()]
    hooks = (PROJECT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^ +entry: (.*)$", hooks, re.MULTILINE) == checks
    assert len(checks) >= 3
