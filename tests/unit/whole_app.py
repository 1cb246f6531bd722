"""The API's app with every route, made without a database: for tests of what it says of itself."""

from pydantic import SecretStr

from iotistic.entrypoints.api import BASE, add_control, create_api_app
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.settings import ControlSettings
from iotistic.kernel.home import Home
from iotistic.telemetry.live.hub import LiveHub


class Nobody:
    """A broker that takes everything."""

    async def publish(self, topic, payload, *, expiry_s=None):
        """Take it."""


def whole_app(folder):
    """Return the app; what it would ask of its database fails."""
    home = Home(folder)
    home.create()
    made = ("alert_signing_secret", "broker_auth_token", "broker_secret", "jwt_secret", "provisioning_secret")
    settings = ControlSettings(**dict.fromkeys(made, "secret " * 8))
    operator = SecretStr("operator of the tests")
    ground = Ground(pool=None, home=home, settings=settings, publisher=Nobody(), operator=operator)
    control = ControlPlane.of(ground)
    app = create_api_app(None, LiveHub(folder), Nobody(), gate=control.gate(base=BASE))
    add_control(app, control)
    control.close()
    return app
