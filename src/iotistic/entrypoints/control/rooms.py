"""The control plane put together: one object with every room's service, and the routes that serve them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from fastapi import APIRouter
from pydantic import SecretStr
from starlette.requests import Request

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import Permission
from iotistic.control.access.rules import Gate, calling, requires
from iotistic.control.accounts.desk import AccountDesk, utc_now
from iotistic.control.devices.routes import device_key_router
from iotistic.control.devices.service import DeviceService
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.licences.gates import PlanGate
from iotistic.control.licences.refreshing import Refresher
from iotistic.control.licences.routes import licence_router
from iotistic.control.licences.service import LicenceService
from iotistic.control.provisioning.answering import Offer
from iotistic.control.provisioning.attempts import Attempts
from iotistic.control.provisioning.certificates import DeviceCertificates
from iotistic.control.provisioning.envelope_keys import EnvelopeKeys, read_or_make_key
from iotistic.control.provisioning.key_routes import provisioning_key_router
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.provisioning.proving import Proving
from iotistic.control.provisioning.registration import Registrar, Surroundings
from iotistic.control.provisioning.routes import Doors, proving_router, provisioning_router
from iotistic.control.states.operator_routes import target_router
from iotistic.control.states.routes import device_state_router
from iotistic.control.states.service import StateService
from iotistic.entrypoints.control.authority import certifier
from iotistic.entrypoints.control.operator import OperatorOr
from iotistic.entrypoints.control.settings import ControlSettings
from iotistic.kernel.home import Home
from iotistic.kernel.web.attempts import FailedAttempts


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Every room's service, over one pool."""

    accounts: AccountDesk
    devices: DeviceService
    states: StateService
    provisioning_keys: ProvisioningKeys
    doors: Doors
    licences: LicenceService
    refresher: Refresher
    clock: Callable[[], datetime]

    @classmethod
    def of(
        cls,
        pool: asyncpg.Pool,
        home: Home,
        settings: ControlSettings,
        operator: SecretStr,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> "ControlPlane":
        """Build it; nothing is asked of the database yet. `operator` is the token that opens the authority.

        Raises AuthorityUnusable, AuthorityFileMissing, EnvelopeKeyUnusable.
        """
        addresses = ClientAddresses.of(settings)
        accounts = AccountDesk.of(pool, settings, addresses, clock=clock)
        devices = DeviceService(pool, settings, clock=clock)
        states = StateService(pool, devices, clock=clock)
        keys = ProvisioningKeys(pool, clock=clock)
        licences = LicenceService(pool, settings, clock=clock)
        signer = certifier(home, settings, operator)
        certificates = DeviceCertificates(signer, clock=clock)
        offer = Offer(settings, signer.ca_pem)
        around = Surroundings(devices, keys, certificates, offer, licences, states)
        doors = Doors(
            registrar=Registrar(pool, around, clock=clock),
            proving=Proving(pool, devices, certificates, clock=clock),
            attempts=Attempts(pool, settings, clock=clock),
            envelope_keys=EnvelopeKeys(read_or_make_key(home.secrets / "envelope.key")),
            offer=offer,
            device_service=devices,
            address_of=addresses.address,
        )
        return cls(
            accounts=accounts,
            devices=devices,
            states=states,
            provisioning_keys=keys,
            doors=doors,
            licences=licences,
            refresher=Refresher(licences, settings),
            clock=clock,
        )

    def gate(self, operator: OperatorOr, *, base: str) -> Gate:
        """Return what `install_gate` takes; `base` is what the paths of all routes begin with."""
        return Gate(
            callers=operator,
            devices=FleetDeviceSource(self.devices),
            addresses=self.accounts.addresses,
            attempts=FailedAttempts(),
            plan=PlanGate(self.licences, base=base),
        )

    def router(self) -> APIRouter:
        """Return every route of the control plane, to be put below the API's base."""
        router = APIRouter()
        router.include_router(self.accounts.router())
        router.include_router(provisioning_router(self.doors))
        router.include_router(proving_router(self.doors))
        router.include_router(
            provisioning_key_router(
                self.provisioning_keys,
                read=requires(Permission.DEVICE_READ),
                write=requires(Permission.DEVICE_WRITE),
                who=_caller_name,
                clock=self.clock,
            )
        )
        router.include_router(device_key_router(self.devices))
        router.include_router(device_state_router(self.states, self.devices))
        router.include_router(target_router(self.states))
        router.include_router(licence_router(self.licences, self.refresher))
        return router

    def close(self) -> None:
        """End what runs beside the loop."""
        self.accounts.close()


def _caller_name(request: Request) -> str:
    return calling(request).name
