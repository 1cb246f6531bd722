"""Every route of the control plane, to be put below the API's base."""

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request

from iotistic.control.access.model import Permission
from iotistic.control.access.rules import calling, requires
from iotistic.control.agentupdates.routes import agent_update_router
from iotistic.control.alerts.backtest import Backtest
from iotistic.control.alerts.courier import Senders
from iotistic.control.alerts.mail import MailSender
from iotistic.control.alerts.routes import alert_router
from iotistic.control.alerts.service import AlertService, RuleService
from iotistic.control.alerts.targets import TargetService
from iotistic.control.alerts.webhook import WebhookSender
from iotistic.control.anomalies.routes import anomaly_router
from iotistic.control.anomalies.service import AnomalyService
from iotistic.control.apps.applications import Applications
from iotistic.control.apps.device_apps import DeviceApps
from iotistic.control.apps.registry_routes import application_router
from iotistic.control.apps.routes import device_app_router
from iotistic.control.audit.routes import audit_router, event_router
from iotistic.control.audit.stream import EventStream
from iotistic.control.broker.device_routes import device_broker_router
from iotistic.control.devicelogs.following import Bell, Followers
from iotistic.control.devicelogs.routes import logs_router, upload_router
from iotistic.control.devicelogs.service import DeviceLogs
from iotistic.control.devicemetrics.routes import metrics_router
from iotistic.control.devices.fleet_routes import fleet_router
from iotistic.control.devices.routes import device_key_router
from iotistic.control.images.routes import registry_router
from iotistic.control.jobs.catalogue import Catalogue
from iotistic.control.jobs.catalogue_routes import handler_router, template_router
from iotistic.control.jobs.delivery import DeviceJobs
from iotistic.control.jobs.device_routes import device_job_router
from iotistic.control.jobs.routes import job_router
from iotistic.control.jobs.schedule_routes import schedule_router
from iotistic.control.licences.refreshing import Refresher
from iotistic.control.licences.routes import licence_router
from iotistic.control.presence.routes import presence_router
from iotistic.control.provisioning.announcing import Announcing
from iotistic.control.provisioning.attempts import Attempts
from iotistic.control.provisioning.envelope_keys import EnvelopeKeys, read_or_make_key
from iotistic.control.provisioning.fleet_routes import arrival_router
from iotistic.control.provisioning.key_routes import provisioning_key_router
from iotistic.control.provisioning.proving import Proving
from iotistic.control.provisioning.revoking import EmergencyRevocation
from iotistic.control.provisioning.routes import Doors, proving_router, provisioning_router
from iotistic.control.rollouts.routes import rollout_router
from iotistic.control.rollouts.service import RolloutService
from iotistic.control.states.operator_routes import target_router
from iotistic.control.states.routes import device_state_router
from iotistic.control.tags.routes import tag_router
from iotistic.control.tags.service import TagService
from iotistic.control.templates.routes import target_template_router
from iotistic.control.templates.service import TemplateService
from iotistic.control.upkeep.routes import upkeep_router
from iotistic.control.upkeep.service import UpkeepService
from iotistic.control.why.providers import LeasePresence, RolloutPart
from iotistic.control.why.routes import why_router
from iotistic.control.why.service import WhyService
from iotistic.entrypoints.control.loops import alert_sources
from iotistic.entrypoints.control.rooms import ControlPlane
from iotistic.entrypoints.control.upkeep import watched_work
from iotistic.kernel.web.branches import Branch, Words


def body_examples() -> Mapping[str, object]:
    """Return an example of each body that the control plane takes, by the shape's name in the description."""
    return json.loads((files(__package__ or "") / "examples.json").read_text(encoding="utf-8"))


def control_router(control: ControlPlane, *, base: str, below: str) -> APIRouter:
    """Return the routes: they begin with `below`, and are to be included in `base`. Raises EnvelopeKeyUnusable."""
    words = Words(base + below)
    parts: tuple[Callable[[ControlPlane], Iterator[APIRouter]], ...] = (
        _people,
        _arrival,
        _work,
        _fleet,
        _records,
    )
    branches = (Branch(words, router) for part in parts for router in part(control))
    return Branch(words, *branches, below=below)


def _people(control: ControlPlane) -> Iterator[APIRouter]:
    yield control.accounts.router()
    yield licence_router(control.licences, Refresher(control.licences, control.ground.settings))


def _arrival(control: ControlPlane) -> Iterator[APIRouter]:
    ground = control.ground
    doors = Doors(
        registrar=control.registrar,
        proving=Proving(ground.pool, control.devices, control.certificates, clock=ground.clock),
        attempts=Attempts(ground.pool, ground.settings, clock=ground.clock),
        envelope_keys=EnvelopeKeys(read_or_make_key(ground.home.secrets / "envelope.key")),
        offer=control.offer,
        device_service=control.devices,
        address_of=control.accounts.addresses.address,
    )
    yield provisioning_router(doors)
    yield proving_router(doors)
    yield provisioning_key_router(
        control.provisioning_keys,
        read=requires(Permission.DEVICE_READ),
        write=requires(Permission.DEVICE_WRITE),
        who=_caller_name,
        clock=ground.clock,
    )
    yield arrival_router(
        ground.pool,
        Announcing(
            ground.pool,
            control.licences,
            trail=control.trail,
            decisions=control.decisions,
            clock=ground.clock,
        ),
        EmergencyRevocation(
            ground.pool,
            control.certificates,
            trail=control.trail,
            decisions=control.decisions,
            clock=ground.clock,
        ),
    )


def _fleet(control: ControlPlane) -> Iterator[APIRouter]:
    pool, settings = control.ground.pool, control.ground.settings
    bell = Bell()
    logs = DeviceLogs(pool, settings, settings, bell=bell.ring, clock=control.ground.clock)
    yield tag_router(TagService(pool, trail=control.trail))
    yield fleet_router(pool, control.lifecycle)
    yield presence_router(control.presence)
    yield metrics_router(pool)
    yield logs_router(logs, Followers(pool, bell, most=settings.device_log_followers))
    yield upload_router(logs, control.devices, heard=control.attendance.logged)
    yield device_key_router(control.devices, lifecycle=control.lifecycle)
    yield device_state_router(control.states, control.devices)
    images = control.images
    yield target_router(control.states, images)
    yield registry_router(control.registries, images)
    yield device_app_router(
        DeviceApps(pool, control.states, clock=control.ground.clock), control.states, images
    )
    yield target_template_router(
        TemplateService(pool, control.states, trail=control.trail, clock=control.ground.clock), images
    )
    yield application_router(Applications(pool, trail=control.trail, clock=control.ground.clock))
    yield control.broker.router()
    yield device_broker_router(control.broker.brokers, control.states)


def _work(control: ControlPlane) -> Iterator[APIRouter]:
    ground = control.ground
    pool, settings, clock = ground.pool, ground.settings, ground.clock
    catalogue = Catalogue(pool, clock=clock, trail=control.trail)
    yield template_router(catalogue)
    yield handler_router(catalogue)
    yield schedule_router(control.jobs)
    yield job_router(control.jobs)
    yield device_job_router(DeviceJobs(pool, settings, clock=clock))
    yield agent_update_router(control.agent_updates)
    yield rollout_router(RolloutService(pool, control.rollout_around, settings, clock=clock), control.images)
    senders = Senders(WebhookSender(settings), MailSender(settings))
    yield alert_router(
        RuleService(pool, clock=clock),
        AlertService(pool, clock=clock),
        Backtest(pool, settings, alert_sources(control)),
        TargetService(pool, senders, settings, clock=clock),
    )


def _records(control: ControlPlane) -> Iterator[APIRouter]:
    pool, settings = control.ground.pool, control.ground.settings
    yield anomaly_router(AnomalyService(pool, trail=control.trail, clock=control.ground.clock))
    stream = EventStream(pool)
    yield event_router(stream)
    yield audit_router(stream, pool)
    why = WhyService(
        pool,
        settings,
        presence=LeasePresence(),
        providers=[RolloutPart()],
        clock=control.ground.clock,
    )
    yield why_router(why)
    watched = watched_work(pool)
    yield upkeep_router(UpkeepService(pool, watched, trail=control.trail, clock=control.ground.clock))


def _caller_name(request: Request) -> str:
    return calling(request).name
