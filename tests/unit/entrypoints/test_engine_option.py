"""The option --engine."""

import pytest
from cyclopts import App

from iotistic.entrypoints.agent.engine_kind import EngineKind


@pytest.mark.parametrize("kind", list(EngineKind))
def test_engines_are_called_on_the_command_line_as_in_the_environment(kind):
    app = App()

    @app.default
    def take(*, engine: EngineKind):
        return engine

    assert app(["--engine", kind.value], exit_on_error=False, result_action="return_value") is kind
