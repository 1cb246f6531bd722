"""The documentation says what is true: links, commands, reason codes, metrics, settings."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
from cyclopts import App
from prometheus_client import Counter

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.cli import build_app

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "iotistic"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
REASON = re.compile(r"(?:decode|reading|resolve|sink|ingest)\.[a-z_]+")
FENCED = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOG_METHODS = {"debug", "info", "warning", "error", "exception"}


def name_of(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield f"{target}#{anchor}"


def commands_on(page):
    """Yield `iotistic ...` in code, as words up to the first option or argument that is no plain word."""
    blocks = re.findall(FENCED, page.read_text())
    inline = re.findall(r"`([^`\n]+)`", re.sub(FENCED, "", page.read_text()))
    for code in (*blocks, *inline):
        for line in code.splitlines():
            yield from re.findall(r"(?:^|[\s/(])iotistic ((?:[a-z][a-z0-9-]*(?: |$))+)", line)


def unknown_words(app, words):
    """Return the words of a command that no command takes; what follows a command without any is arguments."""
    while words and (commands := [name for name in app if not name.startswith("-")]):
        if words[0] not in commands:
            return words
        app, words = app[words[0]], words[1:]
    return []


def strings_of_reasons():
    """Yield reason codes in the source; a logger's event names have the same shape and are left out."""
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        events = {
            id(call.args[0])
            for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in LOG_METHODS
            and call.args
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in events:
                yield from [node.value] if REASON.fullmatch(node.value) else []


def metrics_in_source():
    """Yield the names of metrics as they are scraped."""
    for file in SOURCE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
                first = call.args[0]
                name = first.value if isinstance(first, ast.Constant) else None
                if call.func.id in {"Counter", "Gauge", "Histogram"} and isinstance(name, str):
                    total = call.func.id == Counter.__name__ and not name.endswith("_total")
                    yield name + "_total" * total


def settings_script():
    spec = importlib.util.spec_from_file_location(
        "settings_reference", ROOT / "scripts/settings_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_mentioned_exists(page):
    app = build_app()
    mentioned = {command.strip() for command in commands_on(page)}
    processes = set(catalogue.PROCESSES)

    unknown = {
        command
        for command in mentioned
        if command.split()[0] not in processes and unknown_words(app, command.split())
    }
    assert unknown == set()


def test_every_command_stands_in_the_reference():
    page = (ROOT / "docs/reference/cli.md").read_text()
    leaves = {" ".join(words) for words in command_lines(build_app(), ())}

    assert {line for line in leaves if f"`iotistic {line}" not in page} == set()


def command_lines(app: App, words):
    names = [name for name in app if not name.startswith("-")]
    for name in names:
        yield from command_lines(app[name], (*words, name))
    if words and not names:
        yield words


def test_every_reason_code_is_explained_and_every_explained_one_exists():
    page = (ROOT / "docs/dead-letters.md").read_text()
    explained = set(re.findall(rf"^\| `({REASON.pattern})`", page, re.MULTILINE))

    assert explained == set(strings_of_reasons())


def test_every_metric_is_listed_and_every_listed_one_exists():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    listed = set(re.findall(r"^\| `(iotistic_\w+)`", page, re.MULTILINE))

    assert listed == set(metrics_in_source())


def test_the_settings_page_is_what_the_settings_say():
    script = settings_script()

    assert script.PAGE.read_text() == script.page(), "run .venv/bin/python scripts/settings_reference.py"


def test_every_exit_code_is_listed():
    page = (ROOT / "docs/reference/cli.md").read_text()

    assert [code for code in catalogue.EXIT_CODES if f"| {code} |" not in page] == []
