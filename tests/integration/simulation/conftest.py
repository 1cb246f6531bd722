"""The site for all tests of this folder."""

from fleet_site import site  # noqa: F401 - a fixture
