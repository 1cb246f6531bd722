import json
import os
import subprocess
import sys

import pytest

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.cli import main
from iotistic.entrypoints.commands.options import device_path
from iotistic.kernel.errors import IotisticError


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_the_overview_names_every_command_and_every_exit_code(capsys):
    assert exit_code("--help") == 0

    text = capsys.readouterr().out
    assert all(f"  {command.name} " in text for command in catalogue.COMMANDS)
    assert all(f"{code}  {meaning}" in text for code, meaning in catalogue.EXIT_CODES.items())


def test_every_kind_of_error_has_a_documented_exit_code():
    kinds = [IotisticError, *IotisticError.__subclasses__()]

    assert {kind.exit_code for kind in kinds} <= set(catalogue.EXIT_CODES)


def test_a_mistyped_command_is_refused_with_the_nearest_one(capsys):
    assert exit_code("devcies") == 2

    assert "did you mean `iotistic devices`?" in capsys.readouterr().err


def test_an_unknown_option_is_refused_with_where_to_look(capsys):
    assert exit_code("version", "--nonsense") == 2

    assert "iotistic version --help" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "watch", "devices", "dead-letters"])
def test_a_command_without_an_installation_says_how_to_start_one(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IOTISTIC_HOME", str(tmp_path))

    assert exit_code(command) == 6

    assert "iotistic up" in capsys.readouterr().err


def test_an_error_is_one_json_object_when_json_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IOTISTIC_HOME", str(tmp_path))

    assert exit_code("devices", "--json") == 6

    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["error"]["code"] == "installation.not_running"


def test_a_devices_name_is_one_part_of_a_path_whatever_signs_it_has():
    assert device_path("F2 x J3/sensor-1?") == "/telemetry/devices/F2%20x%20J3%2Fsensor-1%3F"


def test_help_offers_no_negative_of_a_plain_switch(capsys):
    assert exit_code("watch", "--help") == 0

    assert "--no-" not in capsys.readouterr().out


def test_an_endless_listing_into_a_closed_pipe_ends_quietly():
    script = f"{sys.executable} -m iotistic completion show bash | head -n 1"

    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False)

    assert ended.stderr == ""


def test_the_overview_loads_neither_the_parser_nor_the_renderer():
    script = (
        "import sys\n"
        "from iotistic.entrypoints.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'cyclopts', 'rich', 'pydantic', 'asyncio'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_terminal_that_knows_only_ascii_gets_question_marks_instead_of_a_traceback():
    command = "from iotistic.entrypoints.cli import main; import sys; sys.argv = ['iotistic', '°']; main()"
    ended = subprocess.run(
        [sys.executable, "-c", command],
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip

    assert (ended.returncode, b"Traceback" in ended.stderr) == (2, False)
    assert b"there is no command" in ended.stderr
