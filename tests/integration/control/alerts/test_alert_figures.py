"""What Prometheus is told of alerts: looks at rules, how far behind they are, what fires, what was delivered."""

from alert_builders import SECOND, too_hot
from prometheus_client import REGISTRY
from receivers import HttpReceiver

from iotistic.control.alerts.conditions import Severity

LOOKED = "iotistic_alert_looks_total"
DELIVERED = "iotistic_alert_deliveries_total"


def figures():
    named = {
        "judged": (LOOKED, {"stream": "telemetry", "outcome": "judged"}),
        "timed": ("iotistic_alert_look_seconds_count", {"stream": "telemetry"}),
        "failed": (LOOKED, {"stream": "logs", "outcome": "failed"}),
        "delivered": (DELIVERED, {"kind": "webhook", "outcome": "delivered"}),
        "not delivered": (DELIVERED, {"kind": "webhook", "outcome": "failed"}),
        "dead": (DELIVERED, {"kind": "webhook", "outcome": "dead"}),
    }
    return {name: REGISTRY.get_sample_value(*one) or 0 for name, one in named.items()}


def standing(**labels):
    return REGISTRY.get_sample_value("iotistic_alerts_open", labels)


async def test_figures_tell_what_was_judged_and_what_was_told(hall):
    before = figures()
    async with HttpReceiver(answers=[503, 410, 200]).listening() as receiver:
        channel = {"kind": "webhook", "url": receiver.url}
        target, _ = await hall.targets.create("ops", channel, Severity.INFO, by="test")
        await hall.rule(too_hot(), targets=[str(target.id)], severity="critical")
        await hall.rule({"type": "log_pattern", "match": {"text": "no logs are kept here"}})
        series = await hall.series()
        await hall.store(series, (hall.clock() + SECOND, 40.0))
        await hall.look()
        await hall.keeper.stand()
        firing = standing(state="firing", severity="critical")
        waiting = REGISTRY.get_sample_value("iotistic_alert_deliveries_waiting")
        for _ in range(2):
            await hall.courier.deliver_due()
            hall.clock.forward(60)
        await hall.store(series, (hall.clock() + SECOND, 1.0))
        await hall.look()
        await hall.courier.deliver_due()
        hall.clock.forward(600)
        await hall.keeper.stand()

    assert (firing, standing(state="firing", severity="critical"), waiting) == (1, 0, 1)
    assert REGISTRY.get_sample_value("iotistic_alert_behind_seconds", {"stream": "telemetry"}) == 605
    assert REGISTRY.get_sample_value("iotistic_alert_behind_seconds", {"stream": "devices"}) == 0
    grown = {name: count - before[name] for name, count in figures().items()}
    assert grown.pop("judged") == grown.pop("timed") >= 2
    assert grown.pop("failed") >= 1
    assert grown == {"delivered": 1, "not delivered": 1, "dead": 1}
