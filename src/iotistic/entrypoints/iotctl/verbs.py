"""Every verb of iotctl."""

from cyclopts import App

from iotistic.entrypoints.iotctl import anomalies, apps, config, device, logs, provision, services


def build_app() -> App:
    """Return every verb."""
    app = App(
        name="iotctl",
        help="Control the agent on this device.",
        version=device.own_version,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    app.command(device.status)
    app.command(device.diagnostics, name=["diagnostics", "diag"])
    app.command(device.plan)
    app.command(device.restart)
    for part in (logs.app, anomalies.app, apps.app, services.app, config.app, provision.app):
        app.command(part)
    app.command(provision.deprovision)
    app.command(provision.factory_reset, name="factory-reset")
    app.command(device.version)
    return app
