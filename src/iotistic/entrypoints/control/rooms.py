"""The control plane put together: one object with every room's service, over one pool.

The API serves them (routes.py), the control process does their work in the background (loops.py); both build this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from pydantic import SecretStr

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.rules import Gate
from iotistic.control.accounts.desk import AccountDesk, utc_now
from iotistic.control.agentupdates.service import AgentUpdates
from iotistic.control.anomalies.health import AnomalyHealth
from iotistic.control.anomalies.intake import AnomalyIntake
from iotistic.control.audit.events import EventLog
from iotistic.control.audit.presence_events import PresenceEvents
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.broker.desk import BrokerDesk
from iotistic.control.devicemetrics.recorder import MetricsRecorder
from iotistic.control.devices.lifecycle import Lifecycle
from iotistic.control.devices.service import DeviceService
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.devices.witness import DeviceWitness
from iotistic.control.images.registries import Registries
from iotistic.control.images.resolving import ImageResolver
from iotistic.control.jobs.reminding import JobReminder
from iotistic.control.jobs.service import JobService
from iotistic.control.licences.gates import PlanGate
from iotistic.control.licences.service import LicenceService
from iotistic.control.presence.attendance import PresenceAttendance
from iotistic.control.presence.service import Presence
from iotistic.control.provisioning.answering import Offer
from iotistic.control.provisioning.certificates import DeviceCertificates
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.provisioning.registration import Registrar
from iotistic.control.provisioning.registration import Surroundings as RegistrationAround
from iotistic.control.rollouts.signals import Surroundings as RolloutAround
from iotistic.control.states.service import StateService
from iotistic.control.states.together import StatesTogether
from iotistic.control.templates.service import TemplatedBeginnings
from iotistic.control.why.notes import PresenceNotes, RolloutNotes
from iotistic.control.why.records import DecisionRecords
from iotistic.entrypoints.control.authority import certifier
from iotistic.entrypoints.control.bridges import PresenceJournal, Seen, ServicePublisher, Tagged
from iotistic.entrypoints.control.operator import OperatorOr
from iotistic.entrypoints.control.recording import Recordings
from iotistic.entrypoints.control.settings import ControlSettings
from iotistic.kernel.home import Home
from iotistic.kernel.sealing import Seal
from iotistic.kernel.web.attempts import FailedAttempts

Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What every room stands on."""

    pool: asyncpg.Pool
    home: Home
    settings: ControlSettings
    publisher: ServicePublisher
    operator: SecretStr
    """The token that opens the authority, and everything here."""
    clock: Clock = utc_now
    express_pool: asyncpg.Pool | None = None
    """What polls and reports of devices have to themselves, where they are served; otherwise the pool of all."""


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The services that several others need; what only routes or only loops need, those make."""

    ground: Ground
    trail: AuditTrail
    decisions: DecisionRecords
    accounts: AccountDesk
    licences: LicenceService
    devices: DeviceService
    presence: Presence
    attendance: PresenceAttendance
    lifecycle: Lifecycle
    states: StateService
    together: StatesTogether
    offer: Offer
    certificates: DeviceCertificates
    provisioning_keys: ProvisioningKeys
    registrar: Registrar
    broker: BrokerDesk
    jobs: JobService
    agent_updates: AgentUpdates
    registries: Registries
    images: ImageResolver
    rollout_around: RolloutAround
    tagged: Tagged
    seen: Seen

    @classmethod
    def of(cls, ground: Ground) -> "ControlPlane":
        """Build it; nothing is asked of the database yet. Raises AuthorityUnusable, AuthorityFileMissing."""
        pool, settings, clock = ground.pool, ground.settings, ground.clock
        trail, decisions = AuditTrail(clock=clock), DecisionRecords(clock=clock)
        accounts = AccountDesk.of(
            pool, settings, ClientAddresses.of(settings), trail=trail, hashes_apart=True, clock=clock
        )
        licences = LicenceService(pool, settings, trail=trail, clock=clock)
        devices = DeviceService(pool, settings, decisions=decisions, trail=trail, clock=clock)
        journal = PresenceJournal(PresenceNotes(decisions), PresenceEvents(), JobReminder(clock=clock))
        presence = Presence(pool, settings, journal=journal)
        attendance = PresenceAttendance(presence)
        broker = BrokerDesk.of(pool, settings, ground.publisher, clock=clock)
        recordings = Recordings(MetricsRecorder(pool), AnomalyIntake(pool))
        witness, events = DeviceWitness(pool, attendance, recordings), EventLog()
        states = StateService(
            pool,
            devices,
            announcer=broker.announcer,
            witness=witness,
            events=events,
            decisions=decisions,
            trail=trail,
            clock=clock,
        )
        signer = certifier(ground.home, settings, ground.operator)
        certificates, offer = DeviceCertificates(signer, clock=clock), Offer(settings, signer.ca_pem)
        keys = ProvisioningKeys(pool, trail=trail, clock=clock)
        around = RegistrationAround(
            devices,
            keys,
            certificates,
            offer,
            licences,
            TemplatedBeginnings(states),
            trail=trail,
            decisions=decisions,
        )
        tagged = Tagged(pool)
        seal = Seal(settings.registry_secret, purpose="registries", setting="REGISTRY_SECRET")
        registries = Registries(pool, seal, trail=trail, clock=clock)
        images = ImageResolver(registries, settings)
        return cls(
            ground=ground,
            trail=trail,
            decisions=decisions,
            accounts=accounts,
            licences=licences,
            devices=devices,
            presence=presence,
            attendance=attendance,
            lifecycle=Lifecycle(pool, trail=trail, parting=presence),
            states=states,
            together=StatesTogether(ground.express_pool or pool, witness, events=events, clock=clock),
            offer=offer,
            certificates=certificates,
            provisioning_keys=keys,
            registrar=Registrar(pool, around, clock=clock),
            broker=broker,
            jobs=JobService(pool, settings, clock=clock, allowance=licences, trail=trail),
            agent_updates=AgentUpdates(pool, settings, clock=clock, trail=trail),
            registries=registries,
            images=images,
            rollout_around=RolloutAround(
                announcer=broker.announcer,
                health=(AnomalyHealth(pool, settings.anomaly_rollout_severity),),
                tags=tagged,
                sizes=images,
                decisions=RolloutNotes(decisions),
            ),
            tagged=tagged,
            seen=Seen(pool),
        )

    def gate(self, *, base: str) -> Gate:
        """Return what `install_gate` takes; `base` is what the paths of all routes begin with."""
        return Gate(
            callers=OperatorOr(self.ground.operator, self.accounts.identities),
            devices=FleetDeviceSource(self.devices),
            addresses=self.accounts.addresses,
            attempts=FailedAttempts(),
            plan=PlanGate(self.licences, base=base),
        )

    def close(self) -> None:
        """End what runs beside the loop."""
        self.accounts.close()
