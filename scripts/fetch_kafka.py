"""Download Apache Kafka's jars with nothing but the standard library, and print their folder: fetch_kafka.py.

For tests and benchmarks; an installation brings its own Kafka. The jars are those of kafka-jars.sha256, which
also says what each must be; they stay in .tools between runs. MAVEN_REPOSITORY names a mirror.
"""

# ruff: noqa: INP001  a script is no package

import hashlib
import os
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
TIMEOUT_S = 60
ATTEMPTS = 3
LIST = Path(__file__).with_name("kafka-jars.sha256")
FOLDER = Path(__file__).parent.parent / ".tools" / "kafka"


def fetch(digest: str, path: str) -> Path:
    """Bring one jar into the folder unless it is there; a jar that is not what it should be ends the script."""
    jar = FOLDER / Path(path).name
    if jar.exists():
        return jar
    url = f"{os.environ.get('MAVEN_REPOSITORY', MAVEN_CENTRAL).rstrip('/')}/{path}"
    content = download(url)
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"{jar.name} is not what {LIST.name} says it is (its SHA-256 differs)")
    # Under a name of its own first: a download that is cut off must not pass for a jar.
    part = jar.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(jar)
    return jar


def download(url: str) -> bytes:
    """Return the body of a web address, asking a few times."""
    for attempt in range(ATTEMPTS):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  ours or the user's
                body: bytes = answer.read()
                return body
        except OSError as exc:
            fault = exc
            sys.stderr.write(f"attempt {attempt + 1} of {ATTEMPTS}: {url}: {exc}\n")
    sys.exit(
        f"Kafka could not be downloaded ({fault}); check the network, or set MAVEN_REPOSITORY to a mirror"
    )


def main() -> None:
    """Fetch what is missing; jars of another list are removed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [line.split() for line in LIST.read_text(encoding="utf-8").splitlines()]
    with ThreadPoolExecutor(4) as pool:
        kept = set(pool.map(lambda entry: fetch(*entry), wanted))
    for stranger in set(FOLDER.glob("*.jar")) - kept:
        stranger.unlink()
    sys.stdout.write(f"{FOLDER}\n")


if __name__ == "__main__":
    main()
