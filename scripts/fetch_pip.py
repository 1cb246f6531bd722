"""Download pip's own wheel with nothing but the standard library, and print its path: fetch_pip.py FOLDER.

Debian's python3 comes with neither pip nor ensurepip, and installing them takes root; a wheel runs without
being installed (`python3 pip.whl/pip install ...`). The index is PIP_INDEX_URL or PyPI, read as HTML because
every mirror has that; the file is checked against the SHA-256 that the index gives.
"""

# ruff: noqa: INP001  a script is no package

import hashlib
import os
import re
import sys
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

PYPI = "https://pypi.org/simple"
TIMEOUT_S = 60


class Index(HTMLParser):
    """Collects the wheels that run on this Python, as {version: link}."""

    def __init__(self) -> None:
        super().__init__()
        self.wheels: dict[tuple[int, ...], str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the link of a final release that is neither withdrawn nor for a newer Python."""
        link = dict(attrs)
        wheel = re.search(r"pip-(\d+(?:\.\d+)+)-py3-none-any\.whl#sha256=", link.get("href") or "")
        oldest = re.match(r">=3\.(\d+)", link.get("data-requires-python") or ">=3.0")
        fits = oldest is not None and sys.version_info[1] >= int(oldest[1])
        if tag == "a" and wheel and fits and "data-yanked" not in link:
            self.wheels[tuple(int(part) for part in wheel[1].split("."))] = link["href"] or ""


def fetch(url: str) -> bytes:
    """Return the body of a web address."""
    if not url.startswith(("https://", "http://")):
        sys.exit("the package index is not a web address; look at PIP_INDEX_URL")
    request = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310  checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  checked above
        body: bytes = answer.read()
    return body


def main() -> None:
    """Save the newest wheel into the folder given."""
    page = os.environ.get("PIP_INDEX_URL", PYPI).rstrip("/") + "/pip/"
    index = Index()
    index.feed(fetch(page).decode())
    if not index.wheels:
        sys.exit("the package index offers no pip for this Python")
    link = urllib.parse.urlsplit(urllib.parse.urljoin(page, index.wheels[max(index.wheels)]))
    content = fetch(link._replace(fragment="").geturl())
    name = Path(link.path).name
    if hashlib.sha256(content).hexdigest() != link.fragment.removeprefix("sha256="):
        sys.exit(f"{name} is not what the package index says it is (its SHA-256 differs)")
    wheel = Path(sys.argv[1], name)
    wheel.write_bytes(content)
    sys.stdout.write(f"{wheel}\n")


if __name__ == "__main__":
    main()
