"""`site`: a cloud with rollouts (see rollout_builders.Site)."""

import pytest
from rollout_builders import Site


@pytest.fixture
def site(pool):
    return Site(pool)
