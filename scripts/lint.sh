#!/bin/sh
# Rules, format and import contracts: seconds.
set -eu
cd "$(dirname "$0")/.."

sh scripts/step.sh "rules (ruff check)" .venv/bin/ruff check
sh scripts/step.sh "format (ruff format)" .venv/bin/ruff format --check
sh scripts/step.sh "import contracts (lint-imports)" .venv/bin/lint-imports
