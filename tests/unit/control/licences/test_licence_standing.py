"""What a licence allows at a time."""

from datetime import UTC, datetime, timedelta

import pytest

from iotistic.control.licences.model import (
    UNLICENSED_DEVICES,
    Feature,
    LicenceInvalid,
    Limit,
    Standing,
    document_of,
    explain,
    judge,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


def claims(*, exp=NOW + 300 * DAY, trial=None, subscription=None, **features):
    return document_of(
        {
            "customerId": "cust_1",
            "customerName": "Mill",
            "plan": "professional",
            "features": {"maxDevices": 50, "canExecuteJobs": True, **features},
            "limits": {"maxUsers": 15},
            "trial": trial or {"isTrialMode": False},
            "subscription": subscription or {"status": "active"},
            "exp": int(exp.timestamp()),
        }
    )


def standing(given, now=NOW, *, confirmed_at=None, offline=None):
    return judge(given, now, confirmed_at=confirmed_at, offline=offline)


def paid(status, ends_at=None):
    ends = {} if ends_at is None else {"currentPeriodEndsAt": ends_at.isoformat()}
    return claims(subscription={"status": status, **ends})


def trial(ends_at):
    return claims(trial={"isTrialMode": True, "expiresAt": ends_at.isoformat()})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (claims(), Standing.IN_FORCE),
        (None, Standing.UNLICENSED),
        (claims(exp=NOW), Standing.ENDED),
        (claims(exp=NOW + timedelta(seconds=1)), Standing.IN_FORCE),
        (trial(NOW + DAY), Standing.TRIAL),
        (trial(NOW), Standing.TRIAL_ENDED),
        (claims(trial={"isTrialMode": True}), Standing.TRIAL_ENDED),
        (paid("trialing"), Standing.IN_FORCE),
        (paid("past_due", NOW - 6 * DAY), Standing.GRACE),
        (paid("past_due", NOW - 7 * DAY), Standing.SUBSCRIPTION_ENDED),
        (paid("canceled", NOW + DAY), Standing.IN_FORCE),
        (paid("canceled", NOW - DAY), Standing.SUBSCRIPTION_ENDED),
        (paid("canceled"), Standing.SUBSCRIPTION_ENDED),
        (paid("unpaid", NOW + DAY), Standing.SUBSCRIPTION_ENDED),
        (paid("whatever"), Standing.SUBSCRIPTION_ENDED),
    ],
)
def test_a_licence_stands_as_its_claims_and_the_time_say(given, expected):
    found = standing(given)

    assert found.standing is expected
    assert found.is_in_force is (expected in (Standing.IN_FORCE, Standing.TRIAL, Standing.GRACE))
    assert explain(found)


@pytest.mark.parametrize("given", [None, claims(exp=NOW), trial(NOW), paid("unpaid")])
def test_without_one_in_force_little_is_allowed(given):
    found = standing(given)

    assert found.max_devices == UNLICENSED_DEVICES
    assert not any(found.features.values())
    assert found.plan == "unlicensed"


def test_what_a_plan_does_not_name_it_does_not_contain():
    found = standing(claims())

    assert found.max_devices == 50
    assert found.features[Feature.EXECUTE_JOBS]
    assert not found.features[Feature.SCHEDULE_JOBS]
    assert found.limits[Limit.USERS] == 15


def test_a_licence_counts_for_so_long_without_word_of_the_seller():
    month = 30 * DAY

    assert standing(claims(), confirmed_at=NOW - month + DAY, offline=month).standing is Standing.IN_FORCE
    assert standing(claims(), confirmed_at=NOW - month, offline=month).standing is Standing.UNCONFIRMED
    assert standing(claims(), confirmed_at=None, offline=month).standing is Standing.UNCONFIRMED
    assert standing(claims(), confirmed_at=NOW - 300 * DAY).standing is Standing.IN_FORCE


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        {},
        {"customerId": "c", "plan": "", "exp": 1},
        {"customerId": "c", "plan": "p", "exp": "soon"},
        {"customerId": "c", "plan": "p", "exp": 1, "features": {"maxDevices": -2}},
        {"customerId": "c", "plan": "p", "exp": 1, "trial": {"expiresAt": "never"}},
    ],
)
def test_what_says_something_else_is_no_licence(garbage):
    with pytest.raises(LicenceInvalid):
        document_of(garbage)
