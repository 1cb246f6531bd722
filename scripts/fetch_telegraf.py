"""Build Telegraf with what the benchmark needs of it, and print the program's path: fetch_telegraf.py.

A peer of `iotistic bench chain`, nothing else uses it. Needs Go, which takes the source from the module proxy
(GOPROXY names another) and compares it with Go's checksum database. The build is Telegraf's own custom one: build
tags choose plugins. It takes a minute or two, and the program stays in .tools between runs.
"""

# ruff: noqa: INP001  a script is no package

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "v1.37.2"
PARTS = ("inputs.mqtt_consumer", "outputs.postgresql", "parsers.json")
TIMEOUT_S = 1200
FOLDER = Path(__file__).parent.parent / ".tools" / "telegraf" / VERSION


def main() -> None:
    """Build it unless it is there."""
    program = FOLDER / "telegraf"
    if not program.exists():
        build()
    sys.stdout.write(f"{program}\n")


def build() -> None:
    """Have Go build it, one package at a time: a benchmark's other half may be running."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        sys.exit("there is no Go to build Telegraf with: install Go 1.25 or newer")
    # Under a folder of its own first: a build that is cut off must not pass for one.
    part = FOLDER.with_name(f"{FOLDER.name}.{os.getpid()}.part")
    tags = ",".join(("custom", *PARTS))
    command = [go, "install", "-p", "1", "-trimpath", "-ldflags", "-s -w", "-tags", tags]
    environment = {**os.environ, "GOBIN": str(part), "CGO_ENABLED": "0"}
    try:
        subprocess.run(
            ["nice", *command, f"github.com/influxdata/telegraf/cmd/telegraf@{VERSION}"],
            env=environment, check=True, timeout=TIMEOUT_S, stdout=sys.stderr,
        )  # fmt: skip
        part.replace(FOLDER)
    except (OSError, subprocess.SubprocessError) as exc:
        sys.exit(f"Telegraf could not be built ({exc}); check the network, or set GOPROXY to a mirror")
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    main()
