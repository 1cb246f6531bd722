"""What the audit trail leaves out, by names, types and looks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from iotistic.control.audit.redaction import PERSONAL, SECRET, clean, redacted

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_d"


@pytest.mark.parametrize(
    "name",
    [
        "password", "newPassword", "current_password", "api_key", "apiKey", "deviceApiKey", "secret", "clientSecret",
        "access_token", "refreshToken", "private_key", "passphrase", "authorization", "Cookie", "digest",
        "password_hash", "provisioningKey", "credentials", "psk", "X-Device-API-Key",
    ],
)  # fmt: skip
def test_secrets_are_left_out_by_their_names(name):
    assert clean({name: "open sesame"}) == {name: SECRET}
    assert clean({"deep": [{name: {"inner": "open sesame"}}]}) == {"deep": [{name: SECRET}]}


@pytest.mark.parametrize(
    "name",
    [
        "key_id",
        "provisioning_key_id",
        "token_expires_at",
        "must_change_password",
        "keyboard",
        "monkey",
        "username",
    ],
)
def test_names_that_only_sound_like_secrets_stay(name):
    assert clean({name: "x1"}) == {name: "x1"}


@pytest.mark.parametrize(
    "name", ["email", "e_mail", "fullName", "full_name", "phone", "first_name", "mail_address"]
)
def test_personal_data_is_left_out_by_its_names(name):
    assert clean({name: "Ada Lovelace"}) == {name: PERSONAL}


@pytest.mark.parametrize(
    "value",
    [
        SecretStr("open sesame"), b"open sesame", bytearray(b"open sesame"),
        "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", f"Bearer {JWT}", "iotk_0123456789ab_secretpart",
        "$argon2id$v=19$m=65536", "postgresql://iot:sesame@db/x",
    ],
)  # fmt: skip
def test_secrets_are_left_out_by_what_they_are(value):
    assert clean({"note": value}) == {"note": SECRET}


def test_types_that_nobody_knows_are_named_only():
    assert clean({"note": ed25519.Ed25519PrivateKey.generate()})["note"].startswith("[")


def test_mail_addresses_are_left_out_of_sentences():
    assert clean({"note": "asked ada@example.net twice"}) == {"note": f"asked {PERSONAL} twice"}


def test_every_value_of_an_environment_is_left_out_whatever_its_name():
    target = {"services": [{"environment": {"LEVEL": "info", "DB": "x"}}, {"env": ["A=1"]}]}

    assert clean(target) == {
        "services": [{"environment": {"LEVEL": SECRET, "DB": SECRET}}, {"env": [SECRET]}]
    }


@dataclass
class Account:
    name: str
    email: str
    password: SecretStr


class Row(BaseModel):
    id: UUID
    made_at: datetime


def test_what_has_fields_is_shown_by_its_fields():
    made = Row(id=UUID(int=7), made_at=datetime(2026, 1, 2, tzinfo=UTC))

    assert clean(Account("ada", "ada@example.net", SecretStr("x"))) == {
        "name": "ada", "email": PERSONAL, "password": SECRET,
    }  # fmt: skip
    assert clean(made) == {"id": str(UUID(int=7)), "made_at": "2026-01-02T00:00:00+00:00"}


def test_that_something_left_out_was_changed_can_be_seen():
    before = Account("ada", "ada@example.net", SecretStr("x"))
    same, other = (
        redacted(before, before)[1],
        redacted(before, Account("eve", "eve@example.net", SecretStr("y")))[1],
    )

    assert (same["email"], same["password"]) == (PERSONAL, SECRET)
    assert other == {"name": "eve", "email": "[personal, changed]", "password": "[secret, changed]"}


def test_what_is_too_large_is_named_by_its_size():
    kept = clean({"text": "a b " * 50_000})

    assert kept["left_out"] == "too large"
    assert kept["bytes"] > 200_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


# A busy machine makes values slowly; that says nothing about what is tested.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=json_values, after=json_values)
def test_anything_becomes_json_that_the_database_takes(before, after):
    import json

    for kept in redacted(before, after):
        text = json.dumps(kept, allow_nan=False)
        assert "\\u0000" not in text
        text.encode()
