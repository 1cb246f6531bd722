"""Use cases about devices: list them, find one by any of its names, tell its latest values."""

from collections.abc import Sequence
from datetime import datetime

from iotistic.telemetry.query.parameters import DeviceOrder, DevicesQuery
from iotistic.telemetry.query.references import (
    CursorKey,
    DatapointUnknown,
    DeviceAmbiguous,
    DeviceReference,
    DeviceUnknown,
    Key,
    decode_cursor,
    encode_cursor,
    parse_device_reference,
    parse_id,
)
from iotistic.telemetry.query.repository import QueryRepository, display_mac
from iotistic.telemetry.query.schemas import (
    Connector,
    Datapoint,
    DeviceDetail,
    DevicePage,
    DeviceSummary,
    LatestValue,
    Pin,
    Seat,
)
from iotistic.telemetry.query.times import from_us, to_us
from iotistic.telemetry.statements import Record

_NAMED_IDS = 10
_ORDER_KEYS = {"id": Key.ID, "name": Key.TEXT, "last_seen": Key.TIME}


class DeviceQueries:
    """Answers questions about devices and their datapoints."""

    def __init__(self, repository: QueryRepository) -> None:
        self._repository = repository

    async def page(self, query: DevicesQuery) -> DevicePage:
        """Return one page of devices."""
        rows = await self._repository.devices(
            query.sort,
            q=query.q,
            template=query.template,
            seen_since=query.seen_since,
            after=_after(query.sort, query.cursor) if query.cursor else None,
            limit=query.limit + 1,
        )
        kept = rows[: query.limit]
        items = [DeviceSummary.model_validate({**row, "mac": display_mac(row["mac"])}) for row in kept]
        more = len(rows) > query.limit
        return DevicePage(items=items, next_cursor=_cursor(query.sort, kept[-1]) if more else None)

    async def find(self, text: str) -> Record:
        """Return the device that `text` names: id, MAC, uuid, external key, or a name that one device has.

        Raises DeviceUnknown and DeviceAmbiguous.
        """
        device = await self._repository.device(parse_device_reference(text)) or await self._called(text)
        if device is None:
            raise DeviceUnknown(
                device=text[:200],
                hint="name it by its id, MAC, uuid, external key or whole name; GET /devices lists them",
            )
        return device

    async def _called(self, name: str) -> Record | None:
        ids = await self._repository.devices_called(name, _NAMED_IDS)
        if len(ids) > 1:
            listed = ", ".join(map(str, ids))
            raise DeviceAmbiguous(
                f"several devices are called {name[:200]!r}: {listed}{' …' if len(ids) == _NAMED_IDS else ''}",
                hint="name the one that is meant by its id",
                devices=ids,
            )
        return await self._repository.device(DeviceReference.of_id(ids[0])) if ids else None

    async def detail(self, text: str) -> DeviceDetail:
        """Return a device with its connectors and pins, or the pins it sits on."""
        device = await self.find(text)
        pins = await self._repository.pins(device["id"])
        return DeviceDetail.model_validate(
            {
                **device,
                "mac": display_mac(device["mac"]),
                "connectors": _connectors([pin for pin in pins if pin["is_ours"]]),
                "seats": [
                    Seat(controller_id=pin["controller_id"], connector=pin["connector"], pin=pin["pin"])
                    for pin in pins
                    if pin["device_id"] == device["id"]
                ],
            }
        )

    async def datapoints(self, text: str) -> list[Datapoint]:
        """Return the datapoints of a device's template."""
        return await self.template_datapoints((await self.find(text))["template_id"])

    async def template_datapoints(self, template_id: int) -> list[Datapoint]:
        """Return the datapoints of a template."""
        rows = await self._repository.datapoints(template_id)
        return [Datapoint.model_validate(dict(row)) for row in rows]

    async def chosen_datapoints(self, device: Record, names: Sequence[str]) -> list[Record]:
        """Return the datapoints with these labels or ids, in the order asked for; raise DatapointUnknown."""
        ids = [number for name in names if (number := parse_id(name)) is not None]
        rows = await self._repository.datapoints(device["template_id"], labels=list(names), ids=ids)
        by_name: dict[str, Record] = {str(row["id"]): row for row in rows} | {
            row["label"]: row for row in rows
        }
        if missing := [name for name in names if name not in by_name]:
            raise DatapointUnknown(
                f"device {device['id']} has no datapoint {missing[0]!r}",
                datapoints=missing,
                hint=f"GET /devices/{device['id']}/datapoints lists them",
            )
        return list({by_name[name]["id"]: by_name[name] for name in names}.values())

    async def latest(self, texts: Sequence[str]) -> list[LatestValue]:
        """Return the newest reading of every datapoint of the named devices."""
        rows = await self._repository.latest(sorted(await self._ids(texts)))
        return [LatestValue.model_validate(dict(row)) for row in rows]

    async def _ids(self, texts: Sequence[str]) -> set[int]:
        """Return the ids of the named devices; ids, which programs ask with, are looked up together."""
        numbers = [number for text in texts if (number := parse_id(text)) is not None]
        existing = await self._repository.devices_existing(numbers)
        rest = [text for text in texts if parse_id(text) not in existing]
        return existing | {(await self.find(text))["id"] for text in rest}


def _connectors(pins: Sequence[Record]) -> list[Connector]:
    connectors: dict[int, Connector] = {}
    for row in pins:
        number = row["connector"]
        connector = connectors.setdefault(
            number, Connector(number=number, type=row["connector_type"], pins=[])
        )
        if row["pin"] is not None:
            connector.pins.append(Pin.model_validate(dict(row)))
    return list(connectors.values())


def _cursor(order: DeviceOrder, row: Record) -> str:
    key = row["sort_key"]
    return encode_cursor(f"devices.{order}", to_us(key) if isinstance(key, datetime) else key, row["id"])


def _after(order: DeviceOrder, cursor: str) -> tuple[CursorKey | datetime, int]:
    kind = _ORDER_KEYS[order.removeprefix("-")]
    _, (key, device_id) = decode_cursor(cursor, f"devices.{order}", keys=(kind, Key.ID))
    return from_us(int(key)) if kind is Key.TIME else key, int(device_id)
