"""An agent's role as words, which a process hands to the one that it becomes."""

from pathlib import Path

import pytest

from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.role import Role, read_role

ROLES = [
    Role(),
    Role(Path("-odd name.json"), EngineKind.K3s, Path("--data"), 0.25, cleans_up=True, json=True),
    Role(engine=EngineKind.SIMULATED, within_s=300.0),
]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_read_as_it_was_written(role):
    assert read_role(role.arguments()) == role


@pytest.mark.parametrize(
    "words", [["--engine=podman"], ["--targ=x"], ["target.json"], ["--settle-within=soon"]]
)
def test_words_that_say_nothing_end_the_process(words, capsys):
    with pytest.raises(SystemExit) as ended:
        read_role(words)

    assert ended.value.code == 2
    assert "iotistic agent-process" in capsys.readouterr().err
