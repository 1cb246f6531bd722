"""A process of its own that evaluates rules and delivers messages, to be killed by tests.

Environment: DATABASE_URL, DATABASE_PASSWORD, ALERT_*; LEASE_S.
"""

import asyncio
import os
import sys

from iotistic.control.alerts.courier import Courier, Senders
from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.alerts.mail import MailSender
from iotistic.control.alerts.settings import AlertSettings, DeliverySettings, MailSettings
from iotistic.control.alerts.webhook import WebhookSender
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool


async def main() -> None:
    delivery = DeliverySettings()
    pool = await create_pool(DatabaseSettings(database_pool_size=4), application_name="alerts under test")
    senders = Senders(WebhookSender(delivery), MailSender(MailSettings()))
    keeper = AlertKeeper(pool, AlertSettings())
    courier = Courier(pool, senders, delivery, lease_s=float(os.environ["LEASE_S"]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(keeper.run(), courier.run())


if __name__ == "__main__":
    asyncio.run(main())
