"""Failures of the earlier system, and the tests that show them to be impossible: tests/cases/lessons.json."""

import ast
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSONS = json.loads((ROOT / "tests" / "cases" / "lessons.json").read_text())
CONTROL_PLANE = {*range(5, 18), *range(27, 36)}
"""Sections 1, 2 and 4 without ingestion (1 to 4), buildings (18) and billing (36)."""
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")


@cache
def written_in(path):
    module = ast.parse((ROOT / path).read_text())
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_lesson_of_the_control_plane_has_its_tests():
    assert {int(lesson.split()[0]) for lesson in LESSONS} == CONTROL_PLANE
    assert all(LESSONS.values())


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_tests_that_a_lesson_names_are_there(lesson):
    named = [name.split("::") for name in LESSONS[lesson]]

    assert [(path, test) for path, test in named if test not in written_in(path)] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs what is in Git")
def test_lesson_30_no_private_key_and_no_batch_of_keys_is_in_git():
    """`certs/ca.key`, `certs/server.key` and a file of provisioning keys were."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30
    ).stdout.decode()
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    keys = [path for path in files if PRIVATE_KEY.search(path.read_bytes())]

    assert len(files) > 100
    assert keys == []
    assert [
        path for path in files if path.suffix in {".key", ".p12", ".pfx"} or "keys-batch" in path.name
    ] == []
