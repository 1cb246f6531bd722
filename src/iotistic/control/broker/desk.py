"""The broker's side put together: services, routes and background parts, from settings and a pool."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import asyncpg
from fastapi import APIRouter

from iotistic.control.broker.announcing import Publisher, TargetAnnouncer
from iotistic.control.broker.asking_routes import broker_asking_router
from iotistic.control.broker.broker_routes import mqtt_broker_router
from iotistic.control.broker.brokers import BrokerService, Seal
from iotistic.control.broker.changes import AccessChanges
from iotistic.control.broker.judging import AccessJudge
from iotistic.control.broker.keeper import BrokerKeeper, ManagedBroker
from iotistic.control.broker.observing import BrokerObserver
from iotistic.control.broker.rendering import DevicePasswords, Renderer
from iotistic.control.broker.service import MqttUserService, utc_now
from iotistic.control.broker.settings import BrokerDeskSettings, BrokerKeeperSettings, BrokerSampleSettings
from iotistic.control.broker.traffic import TrafficStore
from iotistic.control.broker.traffic_routes import mqtt_traffic_router
from iotistic.control.broker.trying import BrokerTrials
from iotistic.control.broker.user_routes import mqtt_user_router
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.web.attempts import FailedAttempts


class Loop(Protocol):
    """A background part."""

    async def run(self) -> None:
        """Work until `stop` is called."""
        ...

    def stop(self) -> None:
        """Take up no further work."""
        ...


@dataclass(frozen=True, kw_only=True)
class BrokerDesk:
    """What an API process serves; `loops` have to run in that same process."""

    users: MqttUserService
    brokers: BrokerService
    judge: AccessJudge
    traffic: TrafficStore
    announcer: TargetAnnouncer
    loops: tuple[Loop, ...]
    settings: BrokerDeskSettings

    @classmethod
    def of(
        cls,
        pool: asyncpg.Pool,
        settings: BrokerDeskSettings,
        publisher: Publisher,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> "BrokerDesk":
        """Build it; `publisher` is what announcements go out by."""
        judge = AccessJudge(pool, keeps_s=settings.broker_auth_cache_s)
        announcer = TargetAnnouncer(publisher)
        return cls(
            users=MqttUserService(pool, clock=clock),
            brokers=BrokerService(pool, Seal(settings.broker_secret), clock=clock),
            judge=judge,
            traffic=TrafficStore(pool, most_topics=settings.broker_topics_kept),
            announcer=announcer,
            loops=(AccessChanges(pool, judge.forget), announcer),
            settings=settings,
        )

    def router(self) -> APIRouter:
        """Return the routes below the API's base."""
        router = APIRouter()
        router.include_router(mqtt_user_router(self.users))
        trials = BrokerTrials(
            networks=self.settings.broker_test_networks, timeout_s=self.settings.broker_test_timeout_s
        )
        router.include_router(mqtt_broker_router(self.brokers, trials))
        router.include_router(mqtt_traffic_router(self.traffic))
        return router

    def asking_router(self, attempts: FailedAttempts | None = None) -> APIRouter:
        """Return /mosquitto-auth, which belongs at the root."""
        return broker_asking_router(self.judge, self.settings.broker_auth_token, attempts)


def keeper_loops(
    pool: asyncpg.Pool, broker: ManagedBroker, passwords: DevicePasswords, settings: BrokerKeeperSettings
) -> tuple[Loop, ...]:
    """Return what keeps the managed broker's accounts: for one process, or several, that share its folder."""
    keeper = BrokerKeeper(pool, broker, Renderer(passwords), settings)
    return (keeper, AccessChanges(pool, keeper.changed))


def observer_loop(pool: asyncpg.Pool, mqtt: MqttSettings, settings: BrokerSampleSettings) -> Loop:
    """Return what samples the broker's traffic: for one process, or several."""
    store = TrafficStore(pool, most_topics=settings.broker_topics_kept)
    return BrokerObserver(pool, store, mqtt, settings)
