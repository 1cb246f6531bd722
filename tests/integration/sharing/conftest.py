"""Loads the fixture of a real Redis."""

from redis_fixtures import redis  # noqa: F401  a fixture
