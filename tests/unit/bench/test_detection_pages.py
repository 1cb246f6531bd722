"""The pages of the detection benchmark: complete without a network, safe with garbage, honest when there is nothing."""

import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from benchmarks import detection
from benchmarks.detection_compare import Standing
from benchmarks.detection_data import labelled_data
from benchmarks.detection_pages import Material, write
from benchmarks.detection_plateaus import Plateau, Point
from benchmarks.detection_plots import near, parts, whole
from benchmarks.detection_story import stories
from benchmarks.framework import Report
from rich.console import Console
from tests.unit.bench.labelled_folder import labelled_folder

GARBAGE = "<img src=x onerror=alert(1)> & 'ünd' {series}"
NAMES = [GARBAGE, "plain", "quiet"]
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Reads a page, and keeps its tags, what they refer to, and whether each was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("NAB_DATA", str(labelled_folder(tmp_path / "nab", NAMES)))
    return labelled_data()


@pytest.fixture
def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_a_run_with_a_report_shows_every_series_and_refers_to_nothing_outside(data, tmp_path, quiet):
    folder = tmp_path / "pages"
    detection.run(True, Report(quick=True, pages=folder, console=quiet))

    pages = {page.name: read(page) for page in folder.glob("*.html")}
    assert set(pages) == {"index.html", "series-001.html", "series-002.html", "series-003.html"}
    assert {link for page in pages.values() for link in page.links if not link.startswith("#")} <= set(pages)
    assert {"script", "img", "link", "iframe"}.isdisjoint(tag for page in pages.values() for tag in page.tags)
    assert "http" not in re.sub("http://www.w3.org/2000/svg", "", (folder / "index.html").read_text())
    assert "pages: " in quiet.file.getvalue()


def test_an_event_leads_to_its_plot_from_near(data, tmp_path):
    write(tmp_path, Material((0.055, 0.135), stories=stories(data, 0.055)))
    page = read(tmp_path / "series-002.html")
    within = {link.removeprefix("#") for link in page.links if link.startswith("#")}

    assert within
    assert within <= set(page.ids)


def test_the_jump_is_told_in_its_window_with_method_severity_and_range(data):
    found = stories(data, 0.055)
    told = [one for one in found[1].events if one.window == 0]

    assert found[1].windows[0].found == told[0].row == 675
    assert told[0].event.severity == "critical"
    assert told[0].event.expected_high < told[0].event.value
    page = whole(found[1], 0.055, 0.135)
    assert f"{told[0].event.method}, critical; in window 1" in page


def test_points_lost_add_up_to_what_the_score_lacks(data):
    found = stories(data, 0.055)
    missed = sum(one.found is None for story in found for one in story.windows)

    assert sum(one.figures.lost for one in found) >= 100 * missed / 2
    assert found[2].figures.lost == pytest.approx(100 * 0.11 * found[2].figures.false_alerts / 4)


def test_many_events_share_plots_and_what_is_left_out_is_counted(data):
    story = stories(data, 0.0001)[1]
    some, more = parts(story)

    assert some
    assert more >= 0
    assert all(0 <= first < last < len(story.values) for first, last in some)
    assert all(before[1] - 100 < after[0] + 100 for before, after in pairwise(some))
    assert near(story, some[0], 0.055, 0.135).count("<svg") == 1


def test_without_data_the_page_says_what_to_set(tmp_path, monkeypatch, quiet):
    monkeypatch.delenv("NAB_DATA", raising=False)
    detection.run(True, Report(quick=True, pages=tmp_path / "pages", console=quiet))

    text = (tmp_path / "pages" / "index.html").read_text()
    assert "There are no series to show." in text
    assert "set NAB_DATA to a folder with score.py" in text
    assert "saved state of a stream" in text
    assert list((tmp_path / "pages").iterdir()) == [tmp_path / "pages" / "index.html"]


def test_pages_of_an_older_run_go_and_foreign_files_stay(data, tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "series-999.html").write_text("old")
    (folder / "mine.txt").write_text("keep")
    write(folder, Material((0.055, 0.135), missing="none here"))

    assert {one.name for one in folder.iterdir()} == {"index.html", "mine.txt"}


def test_peers_and_plateaus_stand_on_the_index_and_a_missing_peer_tells_how_to_get_it(tmp_path):
    standings = [Standing("ours", nab=78.0), Standing("other <b>", is_installed=False)]
    points = (Point("0.05", 0.5, 70.0), Point("0.2", 2.0, 74.0))
    sets = (Point("24", None, 71.0), Point("12 48", None, 73.0))
    found = [
        Plateau("profile_gain <i>", "halves", 75.0, points),
        Plateau("other slots", "halves", 75.0, sets),
    ]
    write(tmp_path, Material((0.055, 0.135), standings=standings, plateaus=found))

    text = (tmp_path / "index.html").read_text()
    assert "--group bench-peers" in text
    assert "other &lt;b&gt;" in text
    assert "profile_gain &lt;i&gt;: halves" in text
    assert read(tmp_path / "index.html").tags.count("circle") == 5
