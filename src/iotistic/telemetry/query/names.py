"""Names of devices and datapoints for the live stream: from what people write to ids, and back to labels."""

from iotistic.telemetry.live.stream import Labels
from iotistic.telemetry.live.subscription import LiveFilter
from iotistic.telemetry.query.devices import DeviceQueries
from iotistic.telemetry.query.references import DatapointUnknown, parse_id
from iotistic.telemetry.query.repository import QueryRepository


class LiveNames:
    """Implements the live routes' `Names` on the database."""

    def __init__(self, repository: QueryRepository, devices: DeviceQueries) -> None:
        self._repository = repository
        self._devices = devices

    async def live_filter(self, devices: list[str], datapoints: list[str]) -> LiveFilter:
        """Turn names into ids; raise DeviceUnknown or DatapointUnknown."""
        found = [await self._devices.find(text) for text in devices]
        device_ids = frozenset(int(device["id"]) for device in found)
        if not datapoints:
            return LiveFilter(device_ids)
        ids = [number for name in datapoints if (number := parse_id(name)) is not None]
        rows = await self._repository.datapoints_named(ids, datapoints, sorted(device_ids) or None)
        known = {str(row["id"]) for row in rows} | {row["label"] for row in rows}
        if missing := [name for name in datapoints if name not in known]:
            raise DatapointUnknown(f"there is no datapoint {missing[0]!r}", datapoints=missing)
        return LiveFilter(device_ids, frozenset(int(row["id"]) for row in rows))

    async def labels(self, datapoint_ids: list[int]) -> Labels:
        """Return label and unit of datapoints."""
        rows = await self._repository.labels(datapoint_ids)
        return {row["id"]: (row["label"], row["unit"]) for row in rows}
