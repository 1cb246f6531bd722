"""The files of accounts that Mosquitto is started with."""

from datetime import UTC, datetime

from iotistic.control.broker.model import Access, Acl, MqttUser
from iotistic.control.broker.rendering import AccountTexts, Renderer
from iotistic.control.broker.repository import DeviceAccount
from iotistic.kernel.mosquitto.passwords import is_password, password_hash
from iotistic.kernel.web.auth import digest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UUID = "6d0b0f0e-4c5b-4e3a-9d0f-0a1b2c3d4e5f"
HASH = password_hash("correct horse")


class Passwords:
    def mqtt_password(self, uuid, registration):
        return f"{uuid}-{registration}"


def user(name="ada", *, acls=(), is_superuser=False, is_active=True):
    rules = tuple(
        Acl(id=at, user_id=1, topic=topic, access=Access(access), priority=0, created_at=NOW)
        for at, (topic, access) in enumerate(acls)
    )
    return MqttUser(
        id=1,
        username=name,
        password_hash=HASH,
        is_superuser=is_superuser,
        is_active=is_active,
        created_at=NOW,
        updated_at=NOW,
        acls=rules,
    )


def device(*, registration="one", has_certificate=False, password=None):
    known = digest(password or f"{UUID}-{registration}")
    return DeviceAccount(f"device_{UUID}", UUID, known, registration, has_certificate, is_active=True)


def render(users=(), devices=()):
    return Renderer(Passwords()).render(users, devices)


def test_the_bits_become_the_broker_s_words():
    texts = render([user(acls=[("a/#", 1), ("b", 2), ("c", 3), ("d", 7), ("e", 4), ("own/%u/#", 5)])])

    assert texts.passwords == f"ada:{HASH}\n"
    assert texts.acl.splitlines() == [
        "user ada",
        "topic read a/#",
        "topic write b",
        "topic readwrite c",
        "topic readwrite d",
        "topic read own/ada/#",
    ]


def test_a_superuser_has_everything_and_the_broker_s_figures():
    assert render([user(is_superuser=True)]).acl.splitlines() == [
        "user ada",
        "topic readwrite #",
        "topic read $SYS/#",
    ]


def test_who_is_switched_off_is_left_out():
    assert render([user(is_active=False)]) == AccountTexts()


def test_a_device_reaches_topics_of_its_own_uuid_only():
    texts = render(devices=[device()])
    topics = [line.split(" ", 2)[2] for line in texts.acl.splitlines() if line.startswith("topic")]

    assert texts.acl.startswith(f"user device_{UUID}\n")
    assert topics
    assert {topic.partition(f"/{UUID}/")[0] for topic in topics} <= {
        "iot/device",
        "device",
        "agent",
        "sensor",
        "state",
    }
    assert all(f"/{UUID}/" in topic for topic in topics)


def test_a_device_s_password_is_the_one_it_was_given():
    name, known = render(devices=[device()]).passwords.strip().split(":")

    assert name == f"device_{UUID}"
    assert is_password(known, f"{UUID}-one")
    assert not is_password(known, f"{UUID}-two")


def test_a_device_with_a_certificate_needs_no_lines():
    assert render(devices=[device(has_certificate=True)]) == AccountTexts()


def test_a_device_whose_password_cannot_be_derived_any_more_is_named_and_left_out():
    renderer = Renderer(Passwords())

    assert renderer.render([], [device(password="of another secret")]) == AccountTexts()
    assert renderer.unknown == [f"device_{UUID}"]


def test_the_same_accounts_give_the_same_text():
    assert render([user()], [device()]) == render([user()], [device()])


def test_less_rights_are_told_from_more():
    less = render([user(acls=[("a", 1)])])
    more = render([user(acls=[("a", 1), ("b", 1)]), user("bob")])
    other_password = AccountTexts(less.passwords.replace("ada:$7$101", "ada:$7$102"), less.acl)

    assert not more.takes_away_from(less)
    assert less.takes_away_from(more)
    assert other_password.takes_away_from(less)


def test_a_hash_that_cannot_be_read_is_of_no_password():
    for known in ("", "$7$", "$6$101$AA==$AA==", "$7$x$AA==$AA==", "$7$0$AA==$AA==", "$7$101$*$*", "x" * 500):
        assert not is_password(known, "")
