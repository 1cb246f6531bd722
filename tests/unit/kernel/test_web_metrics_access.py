"""Metrics for callers elsewhere, and health that is degraded and still ready."""

import httpx2
import pytest

from iotistic.kernel.settings import SettingsInvalid, load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.health import Degraded
from iotistic.kernel.web.metrics import MetricsSettings

TOKEN = "a-token-of-prometheus"


def client_of(app, *, address="192.0.2.7"):
    transport = httpx2.ASGITransport(app=app, client=(address, 1234), raise_app_exceptions=True)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", verify=False)


async def test_with_a_token_metrics_are_for_its_holders_wherever_they_are(monkeypatch, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("METRICS_TOKEN_FILE", str(tmp_path / "token"))
    settings = load_settings(MetricsSettings)
    app = create_app(title="t", version="1", description="d", metrics_access=settings.metrics_access)

    async with client_of(app) as client:
        answers = [
            await client.get("/metrics"),
            await client.get("/metrics", headers={"Authorization": "Bearer another"}),
            await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}),
        ]

    assert [answer.status_code for answer in answers] == [401, 401, 200]


def test_a_short_token_is_refused(monkeypatch):
    monkeypatch.setenv("METRICS_TOKEN", "short")

    with pytest.raises(SettingsInvalid, match="METRICS_TOKEN"):
        load_settings(MetricsSettings)


async def test_what_is_degraded_stops_nobody():
    async def redis():
        raise Degraded("Redis did not answer in time")

    async def database():
        pass

    app = create_app(title="t", version="1", description="d", checks={"redis": redis, "database": database})
    async with client_of(app) as client:
        answer = await client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json()["checks"] == {"redis": "degraded: Redis did not answer in time", "database": "ok"}
