"""What is known of a device at one moment: everything that the causes look at. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from iotistic.control.why.model import Record

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """The device's row."""

    name: str
    fleet_id: str
    is_active: bool
    agent_version: str
    created_at: datetime
    is_awaited: bool = False
    """It was announced, and has not come yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFacts:
    """Its API keys."""

    count: int
    good: int
    last_ended_at: datetime | None
    newest_due_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrationFacts:
    """How it came to be known."""

    registered_at: datetime
    proven_at: datetime | None
    has_public_key: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateFacts:
    """Its newest certificate."""

    not_after: datetime
    revoked_at: datetime | None
    issued_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetFacts:
    """What it should be; `images` by service name, of every service that is to run."""

    version: int
    deployed_at: datetime
    deployed_by: str
    images: Mapping[str, str]
    draft_at: datetime | None
    draft_by: str | None
    same_as_version: int | None = None
    """An older version with the same content, when the newest is one that was there before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFacts:
    """What it said of itself."""

    at: datetime
    fields: Mapping[str, Any]

    @property
    def version(self) -> int | None:
        """The version of the target that the device works on."""
        value = self.fields.get("version")
        return value if isinstance(value, int) else None

    def number(self, name: str) -> float | None:
        """Return a figure."""
        value = self.fields.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def services(self) -> list[Mapping[str, Any]]:
        """Every service of every app; what is not shaped like one is left out."""
        apps: object = self.fields.get("apps")
        listed: object = [*cast("Mapping[str, object]", apps).values()] if isinstance(apps, Mapping) else apps
        return [one for app in _objects(listed) for one in _objects(app.get("services"))]


def _objects(value: object) -> list[Mapping[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Mapping[str, Any]", item) for item in items if isinstance(item, Mapping)]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptFacts:
    """A try to register or to prove itself; `outcome` is a word or the code of the refusal."""

    at: datetime
    route: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PresenceFacts:
    """What the lease of a connection says, where presence is kept."""

    is_online: bool
    since: datetime | None = None
    last_seen: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All of it. What nobody knows is None; `more` are facts of other rooms by their names."""

    now: datetime
    uuid: str
    silent_after: timedelta
    """How long a device may say nothing and still count as online."""
    device: DeviceFacts | None = None
    keys: KeyFacts | None = None
    registration: RegistrationFacts | None = None
    certificate: CertificateFacts | None = None
    target: TargetFacts | None = None
    report: ReportFacts | None = None
    attempts: tuple[AttemptFacts, ...] = ()
    """The last ones, the newest first."""
    presence: PresenceFacts | None = None
    records: tuple[Record, ...] = ()
    """Decisions about it, and about all devices, the newest first."""
    chained: Mapping[int, Record] = field(default_factory=dict[int, Record])
    """Records that others follow from, by their ids."""
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    @property
    def images(self) -> Mapping[str, str]:
        """The image of every service that is to run, by its name."""
        return self.target.images if self.target else _NOTHING

    @property
    def fields(self) -> Mapping[str, Any]:
        """What it said of itself."""
        return self.report.fields if self.report else _NOTHING

    @property
    def services(self) -> list[Mapping[str, Any]]:
        """The services that it told of."""
        return self.report.services if self.report else []

    @property
    def last_sign(self) -> datetime | None:
        """When it was last heard of."""
        seen = self.presence.last_seen if self.presence else None
        told = self.report.at if self.report else None
        return max((at for at in (seen, told) if at is not None), default=None)

    @property
    def is_online(self) -> bool:
        """Whether it is there: by its lease, or where none is kept by its last sign."""
        if self.presence is not None:
            return self.presence.is_online
        return self.last_sign is not None and self.now - self.last_sign < self.silent_after

    def newest(self, *codes: str, since: datetime | None = None, own: bool = False) -> Record | None:
        """Return the newest record with one of these codes, at or after a time; `own` leaves out those about all."""
        for record in self.records:
            if since is not None and record.at < since:
                continue
            if record.code in codes and (record.device is not None or not own):
                return record
        return None
