"""Every cause is injected into a database with other devices in other troubles, and has to be named."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import UUID, uuid4

import pytest
from databases import fresh_database
from why_injections import (
    KEY,
    Patient,
    content,
    decision,
    failing,
    last_words,
    refused,
    says,
    service,
    statement,
)

from iotistic.control.audit.trail import AuditTrail
from iotistic.control.devices.model import RotatedTooOften
from iotistic.control.states.model import TargetInvalid
from iotistic.control.why.catalogue import BUILT_IN
from iotistic.control.why.model import WhyDeviceUnknown
from iotistic.control.why.notes import PresenceNotes, RolloutNotes
from iotistic.control.why.port import About
from iotistic.control.why.providers import LeasePresence, RolloutPart
from iotistic.control.why.records import DecisionRecords
from iotistic.control.why.service import WhyService
from iotistic.control.why.settings import WhySettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool

OFFLINE, NOT_UPDATED, LIMITED, ROLLED_BACK = About
HOURS_30 = 30 * 60


async def nothing(_patient):
    """Leave it healthy."""


async def removed(patient):
    await patient.devices().remove(patient.uuid, by="user:ada")


async def keys_revoked(patient):
    await patient.silent()
    await patient.devices().revoke_keys(patient.uuid, by="user:ada")
    patient.now = datetime.now(UTC)


async def key_of_somebody_else(patient):
    await patient.silent()
    for _ in range(3):
        with pytest.raises(Exception, match="not one of this device"):
            await patient.states().poll(patient.uuid, "another" * 9, [])


async def no_report(patient):
    await patient.execute("DELETE FROM device_states WHERE device_uuid = $DEVICE")


async def not_proven(patient):
    await no_report(patient)
    await patient.execute("UPDATE device_registrations SET proven_at = NULL WHERE device_uuid = $DEVICE")


async def broker_restarted(patient):
    await patient.silent(400)
    await patient.decided("presence.broker_restarted", device=False, minutes_ago=399.5)


async def first_target(patient):
    await patient.execute("UPDATE device_targets SET version = 1, draft = NULL WHERE device_uuid = $DEVICE")


async def draft(patient):
    await patient.states().set_target(patient.uuid, content("web:9"), by="user:bert")


async def cancelled_draft(patient):
    await draft(patient)
    await patient.states().cancel(patient.uuid, by="user:bert")


async def refused_target(patient):
    with pytest.raises(TargetInvalid):
        await patient.states().set_target(patient.uuid, {"apps": {"7": {"services": [{}]}}}, by="user:ada")


async def silent_with_new_target(patient):
    await patient.silent(version=1)


async def just_deployed(patient):
    await patient.reports(version=1)
    await patient.target_of_now()


async def at_work(patient):
    await patient.execute(
        "UPDATE device_targets SET deployed_at = $2 WHERE device_uuid = $DEVICE", patient.ago(minutes=5)
    )
    await patient.reports(services=[service(status="pending")])


async def rotated(patient):
    for _ in range(2):
        await patient.devices().rotate(patient.uuid)
    with pytest.raises(RotatedTooOften):
        await patient.devices().rotate(patient.uuid)


async def rolled_back(patient):
    await patient.states().set_target(patient.uuid, content("web:3"), by="user:ada")
    await patient.states().deploy(patient.uuid, by="user:ada")
    await patient.states().roll_back(patient.uuid, 2, by="user:bert")


async def deployed_the_old_one(patient):
    for image in ("web:3", "web:2"):
        await patient.states().set_target(patient.uuid, content(image), by="user:ada")
        await patient.states().deploy(patient.uuid, by="user:ada")


DOORS = (
    "provisioning.key_unknown", "provisioning.key_revoked", "provisioning.key_expired", "provisioning.key_used_up",
    "plan.device_limit", "provisioning.device_exists", "provisioning.proof_refused", "provisioning.proof_invalid",
    "provisioning.no_challenge", "provisioning.challenge_live", "provisioning.too_many_attempts",
    "provisioning.key_id_unknown", "provisioning.idempotency_key_invalid", "device.key_weak",
)  # fmt: skip
PRESENCE = (
    "presence.session_taken_over", "presence.broker_denied", "presence.keepalive_timeout",
    "presence.connection_lost", "presence.disconnected",
    "device.clock_wrong", "agent.update_started", "device.reboot_asked", "device.shutdown_asked", "vpn.down",
)  # fmt: skip
ROLLOUTS = (
    "halted", "waiting", "paused", "window_closed", "cancelled", "superseded", "deadline_passed", "device_failed", "plan_refused",
    "excluded",
)  # fmt: skip
LIMITS = (
    "licence.unlicensed", "licence.expired", "licence.feature_missing", "state.report_too_large",
    "state.target_too_large", "request.body_too_large", "job.too_many", "broker.quota", "broker.acl_denied",
    "telemetry.rate_limited", "logs.quota", "vpn.no_address",
)  # fmt: skip

INJECTIONS = [
    (OFFLINE, "device.online", nothing),
    (OFFLINE, "device.removed", removed),
    (OFFLINE, "device.awaited", statement(
        "UPDATE fleet_devices SET provisioning_state = 'pending', is_active = false WHERE uuid = $DEVICE")),
    (OFFLINE, "device.inactive", statement("UPDATE fleet_devices SET is_active = false WHERE uuid = $DEVICE")),
    *((OFFLINE, code, refused(code)) for code in DOORS),
    *((OFFLINE, code, refused(code, known=True)) for code in DOORS[5:8]),
    (OFFLINE, "plan.device_limit", refused("plan.device_limit", by_record=True)),
    (OFFLINE, "device.keys_revoked", keys_revoked),
    (OFFLINE, "device.key_ended", statement(
        "UPDATE device_api_keys SET ends_at = $2 WHERE device_uuid = $DEVICE", days=1)),
    (OFFLINE, "device.no_key", statement("DELETE FROM device_api_keys WHERE device_uuid = $DEVICE")),
    (OFFLINE, "device.not_proven", not_proven),
    (OFFLINE, "certificate.revoked", statement(
        "UPDATE device_certificates SET revoked_at = $2 WHERE device_uuid = $DEVICE", hours=2)),
    (OFFLINE, "certificate.expired", statement(
        "UPDATE device_certificates SET not_after = $2 WHERE device_uuid = $DEVICE", hours=1)),
    (OFFLINE, "certificate.not_yet_valid", statement(
        "UPDATE device_certificates SET issued_at = $2 WHERE device_uuid = $DEVICE", days=-2)),
    (OFFLINE, "device.key_unknown", key_of_somebody_else),
    *((OFFLINE, code, decision(code, silent=60)) for code in PRESENCE),
    (OFFLINE, "presence.broker_restarted", broker_restarted),
    (OFFLINE, "device.disk_full", last_words(storage_usage=99)),
    (OFFLINE, "device.memory_full", last_words(memory_usage=99)),
    (OFFLINE, "device.too_hot", last_words(temperature=95.5)),
    (OFFLINE, "device.weak_signal", last_words(network_interfaces=[{"name": "wlan0", "signalLevel": -91}])),
    (OFFLINE, "device.never_reported", no_report),
    (OFFLINE, "device.silent", last_words()),
    (NOT_UPDATED, "state.in_force", nothing),
    (NOT_UPDATED, "device.inactive", statement("UPDATE fleet_devices SET is_active = false WHERE uuid = $DEVICE")),
    (NOT_UPDATED, "device.unknown", refused("provisioning.key_expired")),
    (NOT_UPDATED, "licence.update_refused", decision("licence.update_refused", NOT_UPDATED, reason="expired")),
    *((NOT_UPDATED, f"rollout.{code}", decision(f"rollout.{code}", NOT_UPDATED, rollout="r-1")) for code in ROLLOUTS),
    (NOT_UPDATED, "state.target_refused", refused_target),
    (NOT_UPDATED, "state.draft_waits", draft),
    (NOT_UPDATED, "state.never_set", first_target),
    (NOT_UPDATED, "device.offline", silent_with_new_target),
    (NOT_UPDATED, "target.refused_by_device", lambda patient: patient.reports(
        version=1, targetRefused=["apps.7.services[0].ports: two services want port 80"])),
    (NOT_UPDATED, "engine.away", lambda patient: patient.reports(version=1, engineAway="connection refused")),
    (NOT_UPDATED, "image.disk_full", says("write /var/lib/docker: no space left on device")),
    (NOT_UPDATED, "image.denied", says("pull access denied for web, repository may require 'docker login'")),
    (NOT_UPDATED, "image.denied", says("unauthorized: authentication required")),
    (NOT_UPDATED, "image.not_found", says("manifest for web:2 not found: manifest unknown", "ErrImagePull")),
    (NOT_UPDATED, "image.rate_limited", says("toomanyrequests: You have reached your pull rate limit")),
    (NOT_UPDATED, "image.wrong_platform", says("no matching manifest for linux/arm/v7: no match for platform")),
    (NOT_UPDATED, "image.registry_unreachable", says("dial tcp: lookup registry.example: no such host")),
    (NOT_UPDATED, "image.registry_unreachable", says("net/http: TLS handshake timeout")),
    (NOT_UPDATED, "image.pull_failed", says("something odd")),
    (NOT_UPDATED, "start.port_taken", says("Bind for 0.0.0.0:80 failed: port is already allocated", "StartFailure")),
    (NOT_UPDATED, "start.mount_refused", says("invalid mount config: bind source path does not exist", "StartFailure")),
    (NOT_UPDATED, "start.command_missing", says('exec: "srv": executable file not found in $PATH', "StartFailure")),
    (NOT_UPDATED, "start.failed", says("cannot start for a reason of its own", "StartFailure")),
    (NOT_UPDATED, "service.out_of_memory", says("ended with status 137 (OOMKilled)", "CrashLoopBackOff", image="web:2")),
    (NOT_UPDATED, "service.probe_failed", says("liveness probe failed 3 times", "CrashLoopBackOff", image="web:2")),
    (NOT_UPDATED, "service.crashes", says("ended with status 1", "CrashLoopBackOff", image="web:2")),
    (NOT_UPDATED, "reconcile.lock_held", lambda patient: chained(
        patient.decided("reconcile.lock_held", NOT_UPDATED, app="shop"), patient.reports(version=1))),
    (NOT_UPDATED, "target.just_deployed", just_deployed),
    (NOT_UPDATED, "target.not_fetched", lambda patient: patient.reports(version=1)),
    (NOT_UPDATED, "service.not_ready", lambda patient: patient.reports(
        services=[service(image="web:1", health="not-ready")])),
    (NOT_UPDATED, "update.in_progress", at_work),
    (NOT_UPDATED, "update.stuck", lambda patient: patient.reports(services=[service(status="pending")])),
    (NOT_UPDATED, "update.fell_back", lambda patient: patient.reports(services=[service(image="web:1")])),
    (LIMITED, "limits.none", nothing),
    (LIMITED, "plan.device_limit", refused("plan.device_limit", by_record=True)),
    (LIMITED, "provisioning.key_used_up", refused("provisioning.key_used_up")),
    (LIMITED, "provisioning.too_many_attempts", refused("provisioning.too_many_attempts")),
    (LIMITED, "device.rotated_too_often", rotated),
    *((LIMITED, code, decision(code, LIMITED, limit=5)) for code in LIMITS),
    (LIMITED, "limits.none", decision("broker.quota", LIMITED, minutes_ago=HOURS_30)),
    (LIMITED, "device.key_due", statement(
        "UPDATE device_api_keys SET due_at = $2 WHERE device_uuid = $DEVICE", days=3)),
    (ROLLED_BACK, "rollback.none", nothing),
    (ROLLED_BACK, "rollout.rolled_back", decision("rollout.rolled_back", ROLLED_BACK, rollout="r-1", to_version=1)),
    (ROLLED_BACK, "rollout.canary_unhealthy", decision("rollout.canary_unhealthy", ROLLED_BACK, rollout="r-1")),
    (ROLLED_BACK, "rollback.by_operator", rolled_back),
    (ROLLED_BACK, "rollback.by_licence", decision("rollback.by_licence", ROLLED_BACK, feature="vpn")),
    (ROLLED_BACK, "rollback.by_device", lambda patient: patient.reports(services=failing("CrashLoopBackOff", "exit 1"))),
    (ROLLED_BACK, "rollback.draft_cancelled", cancelled_draft),
    (ROLLED_BACK, "rollback.same_as_older", deployed_the_old_one),
]  # fmt: skip


async def chained(*acts):
    for act in acts:
        await act


@pytest.fixture(scope="module")
def clinic(postgres_runner, postgres_admin, postgres, template_database):
    """One database for all patients: each has to be told from all the others."""
    yield from fresh_database(postgres_runner, postgres_admin, postgres, template_database)


@pytest.fixture
async def patients(clinic):
    pool = await create_pool(
        DatabaseSettings(database_url=clinic.url, database_password=clinic.password, database_pool_size=3),
        application_name="test",
    )
    yield pool
    pool.terminate()


async def ill(pool, inject):
    patient = await Patient(pool).born()
    # What is over, and what is of others, is no reason.
    await patient.decided("presence.keepalive_timeout", minutes_ago=3000)
    await patient.decided("rollout.halted", NOT_UPDATED, minutes_ago=3000)
    await patient.decided("broker.quota", LIMITED, minutes_ago=3000)
    await inject(patient)
    return patient


async def asked(pool, patient, about):
    service = WhyService(pool, WhySettings(), clock=lambda: patient.now)
    return await service.ask(patient.uuid, about)


@pytest.mark.parametrize(
    ("about", "code", "inject"), INJECTIONS, ids=[f"{about}-{code}" for about, code, _ in INJECTIONS]
)
async def test_the_injected_cause_is_named(patients, about, code, inject):
    patient = await ill(patients, inject)
    answer = await asked(patients, patient, about)
    first = answer.chain[0]

    assert first.code == code
    assert "{" not in first.sentence + first.fix
    assert (len(first.sentence) > 10, len(first.fix) > 5) == (True, True)
    assert answer.about is about


def test_the_catalogue_has_forty_causes_and_nearly_all_are_injected():
    known = {(cause.about, cause.code) for cause in chain.from_iterable(BUILT_IN.values())}
    injected = {(about, code) for about, code, _ in INJECTIONS}

    assert len(injected) >= 80
    assert injected <= known
    assert {code for _, code in known - injected} <= {
        "presence.broker_full", "presence.cloud_was_down", "state.report_nearly_full", "update.unknown",
        "rollout.stopped",  # met as a reason only
    }  # fmt: skip


async def test_the_chain_goes_on_from_what_was_not_updated_to_why_it_is_offline(patients):
    patient = await ill(patients, statement(
        "UPDATE device_certificates SET not_after = $2 WHERE device_uuid = $DEVICE", hours=1))  # fmt: skip
    await patient.silent(version=1)
    answer = await asked(patients, patient, NOT_UPDATED)

    assert [one.code for one in answer.chain] == ["device.offline", "certificate.expired"]


async def test_the_chain_follows_the_records_that_a_record_follows_from(patients):
    patient = await Patient(patients).born()
    probe = await patient.decided(
        "rollout.probe_failed", NOT_UPDATED, device=False, minutes_ago=40, share=0.2
    )
    halt = await patient.decided(
        "rollout.canary_unhealthy", ROLLED_BACK, device=False, minutes_ago=35, cause=probe
    )
    await patient.decided(
        "rollout.rolled_back", ROLLED_BACK, cause=halt, rollout="r-9", reason="failing probes"
    )
    answer = await asked(patients, patient, ROLLED_BACK)
    await patients.execute("DELETE FROM why_records WHERE device_uuid IS NULL")

    assert [one.code for one in answer.chain] == [
        "rollout.rolled_back", "rollout.canary_unhealthy", "rollout.probe_failed",
    ]  # fmt: skip
    assert "share 0.2" in answer.chain[-1].sentence


@pytest.mark.parametrize(
    ("act", "statement", "code"),
    [
        ("device.removed", "DELETE FROM fleet_devices WHERE uuid = $DEVICE", "device.removed"),
        (
            "device.deactivated",
            "UPDATE fleet_devices SET is_active = false WHERE uuid = $DEVICE",
            "device.inactive",
        ),
    ],
)
async def test_who_switched_a_device_off_is_read_in_the_audit_trail(patients, act, statement, code):
    patient = await Patient(patients).born()
    await patient.execute(statement)
    await AuditTrail().record(patients, "user:bert", act, ("device", patient.uuid))
    first = (await asked(patients, patient, OFFLINE)).chain[0]

    assert (first.code, "user:bert" in first.sentence) == (code, True)


async def test_a_circle_of_records_ends(patients):
    patient = await Patient(patients).born()
    first = await patient.decided("rollout.rolled_back", ROLLED_BACK, rollout="r-1")
    await patients.execute("UPDATE why_records SET cause_id = id WHERE id = $1", first)

    assert len((await asked(patients, patient, ROLLED_BACK)).chain) == 2


async def test_a_broker_that_restarts_long_after_is_no_reason(patients):
    patient = await Patient(patients).born()
    await patient.silent(600)
    await patient.decided("presence.broker_restarted", device=False, minutes_ago=30)
    answer = await asked(patients, patient, OFFLINE)
    await patients.execute("DELETE FROM why_records WHERE device_uuid IS NULL")

    assert answer.chain[0].code == "device.silent"


@pytest.mark.parametrize("inject", [removed, keys_revoked, refused("provisioning.device_exists", known=True)])
async def test_what_went_well_since_ends_a_reason(patients, inject):
    patient = await ill(patients, inject)
    await patients.execute("DELETE FROM fleet_devices WHERE uuid = $1::text::uuid", patient.uuid)
    await patients.execute("DELETE FROM device_certificates WHERE device_uuid = $1::text::uuid", patient.uuid)
    await patient.born()
    patient.now += timedelta(minutes=1)
    await patient.reports(minutes_ago=0)

    assert (await asked(patients, patient, OFFLINE)).chain[0].code == "device.online"


async def test_without_a_question_what_is_wrong_is_found(patients):
    patient = await ill(patients, says("manifest unknown"))

    assert (await asked(patients, patient, None)).chain[0].code == "image.not_found"


async def test_a_device_that_nobody_heard_of_is_unknown(patients):
    with pytest.raises(WhyDeviceUnknown):
        await asked(patients, Patient(patients), OFFLINE)


@pytest.mark.parametrize(
    "fields",
    [
        {"apps": None}, {"apps": "x"}, {"apps": [1, None]}, {"apps": {"7": []}}, {"apps": {"7": {"services": {}}}},
        {"apps": {"7": {"services": [None, {"error": {}}, {"error": {"message": 7}}, {"serviceName": []}]}}},
        {"version": "two"}, {"storage_total": "much"}, {"network_interfaces": {"a": 1}}, {"temperature": True},
        {"targetRefused": [{}]}, {"network_interfaces": [7, {"signalLevel": "-91"}]},
    ],
)  # fmt: skip
async def test_reports_of_any_shape_are_survived(patients, fields):
    patient = await Patient(patients).born()
    await patient.reports(**fields)

    for about in About:
        assert (await asked(patients, patient, about)).chain


async def test_facts_are_small_and_hold_no_secret(patients):
    patient = await Patient(patients).born()
    await patient.decided("broker.quota", LIMITED, minutes_ago=1, api_key=KEY, text="x" * 9000, limit=5)
    kept = await patients.fetchval(
        "SELECT facts::text FROM why_records WHERE device_uuid = $1::text::uuid", patient.uuid
    )

    assert (KEY in kept, len(kept) < 200, '"limit": 5' in kept) == (False, True, True)


async def test_a_device_that_is_refused_again_and_again_fills_no_table(patients):
    patient = await Patient(patients).born()
    states = patient.states()

    async def poll():
        with pytest.raises(Exception, match="not one of this device"):
            await states.poll(patient.uuid, "wrong" * 9, [])

    await asyncio.gather(*(poll() for _ in range(20)))

    assert await patients.fetchval(
        "SELECT count(*) FROM why_records WHERE device_uuid = $1::text::uuid", patient.uuid
    ) == 1  # fmt: skip


@dataclass
class Decided:
    """A decision, as rollouts tell it."""

    kind: str
    rollout_id: object
    device_uuid: object = None
    code: str = "rollout.too_many_failures"
    reason: str = "3 of 10 devices failed"
    by: str = "rollout"
    facts: dict = field(default_factory=dict)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@pytest.mark.parametrize(
    ("kind", "code", "named"),
    [
        ("refused", "rollout.engine_refuses", "rollout.plan_refused"),
        ("superseded", "rollout.target_changed", "rollout.superseded"),
        ("cancelled", "rollout.expired", "rollout.cancelled"),
        ("failed", "rollout.device_offline", "rollout.deadline_passed"),
        ("failed", "rollout.device_failing", "rollout.device_failed"),
    ],
)
async def test_what_rollouts_decide_is_understood(patients, kind, code, named):
    patient = await Patient(patients).born()
    await RolloutNotes(DecisionRecords()).record(
        patients, [Decided(kind, uuid4(), UUID(patient.uuid), code=code)]
    )

    assert (await asked(patients, patient, NOT_UPDATED)).chain[0].code == named


async def test_what_a_rollout_takes_back_follows_from_what_stopped_it(patients):
    patient, rollout = await Patient(patients).born(), uuid4()
    notes = RolloutNotes(DecisionRecords())
    await notes.record(patients, [Decided("stopped", rollout), Decided("stopped", uuid4())])
    await notes.record(
        patients, [Decided("rolled_back", rollout, UUID(patient.uuid), reason="version 1 is in force")]
    )
    answer = await asked(patients, patient, ROLLED_BACK)

    assert [one.code for one in answer.chain] == ["rollout.rolled_back", "rollout.stopped"]
    assert answer.chain[1].sentence.startswith(f"The rollout {rollout} was stopped on ")
    assert "3 of 10 devices failed" in answer.chain[1].sentence


@pytest.mark.parametrize(
    ("rollout_state", "named"),
    [
        ("running", "rollout.waiting"),
        ("halted", "rollout.halted"),
        ("paused", "rollout.paused"),
        ("cancelling", "rollout.cancelled"),
    ],
)
async def test_a_device_that_waits_in_a_rollout_is_told_so(patients, rollout_state, named):
    patient = await Patient(patients).born()
    rollout = await patients.fetchval(
        "INSERT INTO rollouts (name, state, change, selection, policy, created_at, created_by, expires_at, look_at) "
        "VALUES ('r', $1, '{}', '{}', '{}', now(), 'user:ada', now(), now()) RETURNING id",
        rollout_state,
    )
    await patient.execute(
        "INSERT INTO rollout_parts (rollout_id, device_uuid, wave, place, state, deadline) "
        "VALUES ($2, $DEVICE, 3, 1, 'waiting', now() + interval '1 day')",
        rollout,
    )
    service = WhyService(patients, WhySettings(), providers=[RolloutPart()], clock=lambda: patient.now)
    first = (await service.ask(patient.uuid, NOT_UPDATED)).chain[0]

    assert first.code == named
    assert str(rollout) in first.sentence


@dataclass
class Went:
    """A coming or going, as presence tells it."""

    device_uuid: str
    reason: str
    at: datetime
    is_online: bool = False


@pytest.mark.parametrize(
    ("reason", "named"),
    [
        ("silent", "presence.keepalive_timeout"),
        ("disconnected", "presence.connection_lost"),
        ("said-goodbye", "presence.disconnected"),
    ],
)
async def test_a_lease_that_ended_tells_why(patients, reason, named):
    patient = await Patient(patients).born()
    await patient.silent(200)
    await patient.execute(
        "UPDATE device_presence SET seen_at = $2, lease_until = $2, changed_at = $2 WHERE device_uuid = $DEVICE",
        patient.ago(minutes=100),
    )
    notes = PresenceNotes(DecisionRecords())
    await notes.note(patients, [Went(patient.uuid, "poll", patient.ago(minutes=300), is_online=True)])
    await notes.note(patients, [Went(patient.uuid, reason, patient.ago(minutes=98))])
    service = WhyService(patients, WhySettings(), presence=LeasePresence(), clock=lambda: patient.now)

    assert (await service.ask(patient.uuid, OFFLINE)).chain[0].code == named


async def test_a_lease_that_runs_is_believed_more_than_a_late_report(patients):
    patient = await Patient(patients).born()
    await patient.silent(200)
    await patient.execute(
        "UPDATE device_presence SET is_online = true, seen_at = $2::timestamptz, changed_at = $2::timestamptz, "
        "lease_until = $2::timestamptz + interval '10 minutes' WHERE device_uuid = $DEVICE",
        patient.ago(minutes=2),
    )
    service = WhyService(patients, WhySettings(), presence=LeasePresence(), clock=lambda: patient.now)

    assert (await service.ask(patient.uuid, OFFLINE)).chain[0].code == "device.online"
