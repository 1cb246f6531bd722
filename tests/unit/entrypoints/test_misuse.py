"""What a person types that cannot be used ends in a sentence and a code, never in a traceback."""

import io

import pytest
from pydantic import SecretStr

from iotistic.entrypoints.cli import main
from iotistic.entrypoints.installation import Api, RequestImpossible, TokenUnusable, usable_token
from iotistic.entrypoints.iotctl.main import main as iotctl
from iotistic.entrypoints.iotctl.settings import IotctlSettings, KeyInvalid, place_of
from iotistic.kernel.errors import Invalid
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.settings import SettingsInvalid, load_settings

NOT_UTF8 = "\udcff\udcfe"
"""As Python shows bytes of an argument that are no text."""
LONG = "a" * 100_000


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        (main, ("devices", "show", NOT_UTF8), r"error: \udcff\udcfe is not text in UTF-8"),
        (main, ("target", "show", NOT_UTF8), "is not text in UTF-8"),
        (iotctl, ("logs", "--service", NOT_UTF8), "is not text in UTF-8"),
        (iotctl, ("apps", "info", LONG), "A name has 1 to 1,000 characters."),
        (iotctl, ("services", "stop", ""), "A name has 1 to 1,000 characters."),
        (main, ("devices", "show", LONG), "URL too long"),
        (main, ("cert", "issue", "02:00:00:00:00:01", "--out", "/dev/null"), "error: /dev/null: "),
        (main, ("devices", "show"), "`iotistic devices show --help`"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(monkeypatch, capsys, program, arguments, said):
    monkeypatch.setenv("IOTISTIC_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("IOTISTIC_API_TOKEN", "iot_x")

    with pytest.raises(SystemExit) as ended:
        program(arguments)

    assert ended.value.code == Invalid.exit_code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("deploy", "x", "-"), "- is to hold an object"), (("ledger", "verify", "-"), "ledger.pub")],
)
def test_a_hyphen_is_standard_input_and_no_option(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.setenv("IOTISTIC_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("[]"))

    with pytest.raises(SystemExit):
        main(arguments)

    assert said in capsys.readouterr().err


def test_an_error_of_the_program_itself_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("iotistic.entrypoints.cli._run_command", lambda _arguments: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        main(("devices",))


@pytest.mark.parametrize("token", ["", "ümlaut", "iot_x\niot_y"])
def test_a_token_that_no_header_can_hold_is_refused_by_its_name(monkeypatch, token):
    monkeypatch.setenv("IOTISTIC_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("IOTISTIC_API_TOKEN", token)

    with pytest.raises(SystemExit) as ended:
        main(("devices",))

    assert ended.value.code == TokenUnusable.exit_code
    with pytest.raises(TokenUnusable, match="IOTISTIC_API_TOKEN"):
        usable_token(None)


def test_an_address_without_a_scheme_is_not_taken_for_a_server_that_is_away():
    with pytest.raises(RequestImpossible, match="http://"):
        Api("iot.example.com", "iot_x").request("GET", "/devices")


def test_an_address_may_be_given_with_its_version():
    assert Api("http://127.0.0.1:1/api/v1/", "iot_x").url == "http://127.0.0.1:1"


def test_a_device_key_that_no_header_can_hold_is_refused_by_its_name():
    with pytest.raises(KeyInvalid, match="API_KEY"):
        place_of(IotctlSettings(api_key=SecretStr("iot\nx")))


def test_a_setting_whose_file_is_no_text_is_told_with_the_file(monkeypatch, tmp_path):
    (tmp_path / "home").write_bytes(b"\xff\xfe")
    monkeypatch.delenv("IOTISTIC_HOME", raising=False)
    monkeypatch.setenv("IOTISTIC_HOME_FILE", str(tmp_path / "home"))

    with pytest.raises(SettingsInvalid, match="is not text in UTF-8"):
        load_settings(HomeSettings)
