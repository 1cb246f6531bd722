"""Exits 0 when a process is ready: `healthy [URL [CA]]`. Without a URL it asks at METRICS_PORT."""

# ruff: noqa: INP001  a script is no package

import os
import ssl
import sys
import urllib.request

url, ca, *_ = [*sys.argv[1:], "", ""]
url = url or f"http://127.0.0.1:{os.environ['METRICS_PORT']}/health/ready"
trusted = ssl.create_default_context(cafile=ca) if ca else None
try:
    with urllib.request.urlopen(url, timeout=4, context=trusted) as answer:  # noqa: S310  the image's own words
        sys.stdout.write(answer.read().decode())
except OSError as exc:
    sys.exit(f"{url}: {exc}")
