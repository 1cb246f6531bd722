# The whole interface of the repository. Every verb sets up what it needs, and starts at once when it stands.
# ARGS passes options on: make run ARGS="--workers 2", make test ARGS="-k decode".

.DEFAULT_GOAL := help
.PHONY: help run test check bench clean lock setup
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start everything with 4 simulated controllers, an agent and a live table; Ctrl-C stops it
	@sh scripts/setup.sh mosquitto
	@exec $(BIN)/iotistic up --simulate 4 --agent $(ARGS)

test: ## Lint, types, import contracts and every test
	@sh scripts/setup.sh mosquitto mosquitto-clients openssl openjdk-17-jre-headless redis-server \
		docker.io docker-registry busybox-static shellcheck
	@sh scripts/lint.sh
	@sh scripts/step.sh "types (pyright)" $(BIN)/pyright
	@sh scripts/step.sh "Kafka for the tests" $(BIN)/python scripts/fetch_kafka.py
	@sh scripts/step.sh "TimescaleDB for the tests" $(BIN)/python -m benchmarks.timescale
	@BIN=$(BIN) sh scripts/tests.sh $(ARGS)

check: ## The fast part of test: lint and unit tests, in seconds
	@sh scripts/setup.sh
	@sh scripts/lint.sh
	@$(BIN)/pytest -q tests/unit $(ARGS)

bench: ## Run all benchmarks and print the table
	@sh scripts/setup.sh mosquitto mosquitto-clients openjdk-17-jre-headless redis-server \
		docker.io docker-registry busybox-static shellcheck
	@exec $(BIN)/iotistic bench all $(ARGS)

setup: ## Only install what is missing
	@sh scripts/setup.sh mosquitto mosquitto-clients

lock: ## Bring uv.lock in line with pyproject.toml
	@sh scripts/uv.sh lock

clean: ## Remove what make made here (not the installation's state in IOTISTIC_HOME)
	@rm -rf .venv .tools .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
