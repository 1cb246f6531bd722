"""A directory that processes share, in front of the database: what one has looked up, all others know.

Only what is registered is kept, never a refusal. Each value carries the generation of the metadata that
was current before it was looked up, and counts only for readers of the same generation. So a look-up that
was overtaken by a change stores values that nobody takes, and so does a cache that comes back from an old
snapshot; no order of events between processes matters.

A cache that is away costs nothing, one that fails is not asked again within the same look-up, and what it
lacks comes from the database. Storing goes on behind the look-up's back and is left out when the cache
is slower than the look-ups.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from prometheus_client import Counter

from iotistic.kernel.errors import Unavailable
from iotistic.telemetry.model import DeviceRef, SeriesRef
from iotistic.telemetry.resolve import entries
from iotistic.telemetry.resolve.entries import (
    DatapointEntry,
    DeviceEntry,
    Entry,
    SensorEntry,
    SeriesEntry,
    read,
)
from iotistic.telemetry.resolve.model import Hints, Refusal, Resolution, Sensor, Series
from iotistic.telemetry.resolve.resolver import Directory

LOOKED_UP = Counter(
    "iotistic_lookup_series_total", "Series that the in-process cache did not know, by who did", ["level"]
)
UNSTORED = Counter("iotistic_lookup_unstored_total", "Look-ups that were not put into the shared cache")


class Cache(Protocol):
    """A store of values with an age limit; every failure is Unavailable."""

    @property
    def ready(self) -> bool:
        """Whether asking makes sense now."""
        ...

    async def recall(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what is stored under `keys`."""
        ...

    async def remember(self, values: Mapping[str, bytes], *, kept_s: int) -> None:
        """Store `values` for `kept_s` seconds."""
        ...


class Generations(Protocol):
    """Names the state of the metadata."""

    def forget(self) -> None:
        """Hear that the metadata may have changed."""
        ...

    async def current(self) -> str:
        """Return the name of a state that what is read from now on belongs to, or an older one."""
        ...


class SharedDirectory:
    """Looks series up in the cache, and what that lacks in the directory behind it."""

    def __init__(self, behind: Directory, cache: Cache, generations: Generations) -> None:
        self._behind, self._cache, self._generations = behind, cache, generations
        self._storing: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Take nothing that was stored before this moment's change of metadata."""
        self._generations.forget()

    async def look_up(self, refs: Collection[SeriesRef], hints: Hints) -> dict[SeriesRef, Resolution]:
        """Return what each of `refs` resolves to. Raises Unavailable when the database is needed and away."""
        if not self._cache.ready:
            LOOKED_UP.labels("database").inc(len(refs))
            return await self._behind.look_up(refs, hints)
        generation = await self._generations.current()
        found: dict[SeriesRef, Resolution] = {}
        with contextlib.suppress(Unavailable):
            found = dict(await _Recall(self._cache, generation).series(refs))
        missing = [ref for ref in refs if ref not in found]
        LOOKED_UP.labels("redis").inc(len(found))
        if not missing:
            return found
        LOOKED_UP.labels("database").inc(len(missing))
        learned = await self._behind.look_up(missing, hints)
        self._store(learned, generation)
        return found | learned

    async def close(self) -> None:
        """Give up what is being stored."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)

    async def stored(self) -> None:
        """Wait until what was looked up so far is in the cache, or given up."""
        if self._storing is not None:
            await self._storing

    def _store(self, learned: Mapping[SeriesRef, Resolution], generation: str) -> None:
        if self._storing is not None and not self._storing.done():
            UNSTORED.inc()
            return
        self._storing = asyncio.create_task(self._remember(learned, generation))

    async def _remember(self, learned: Mapping[SeriesRef, Resolution], generation: str) -> None:
        values: dict[str, bytes] = {}
        for ref, resolution in learned.items():
            values |= _values(ref, resolution, generation)
        try:
            await self._cache.remember(values, kept_s=entries.KEPT_S)
        except Unavailable:
            UNSTORED.inc()


class _Recall:
    """One look-up in the cache: devices, then what sits on their pins and their labels, then datapoints."""

    def __init__(self, cache: Cache, generation: str) -> None:
        self._cache = cache
        self._generation = generation

    async def series(self, refs: Collection[SeriesRef]) -> dict[SeriesRef, Series | Sensor]:
        """Return those of `refs` that the cache knows entirely."""
        kept = [ref for ref in refs if not (ref.connector and ref.label)]
        devices = await self._devices({ref.device for ref in kept})
        known = {ref: devices[ref.device] for ref in kept if ref.device in devices}
        values = await self._cache.recall([_key(ref, device_id) for ref, device_id in known.items()])
        sensors: dict[SeriesRef, SensorEntry] = {}
        found: dict[SeriesRef, Series | Sensor] = {}
        for ref, device_id in known.items():
            value = values.get(_key(ref, device_id))
            if ref.connector:
                if sensor := read(value, SensorEntry, self._generation):
                    sensors[ref] = sensor
            elif series := read(value, SeriesEntry, self._generation):
                found[ref] = Series(device_id, series.datapoint_id)
        return found | await self._sensors(sensors, known)

    async def _devices(self, refs: Iterable[DeviceRef]) -> dict[DeviceRef, int]:
        keys = {entries.device_key(ref): ref for ref in refs}
        values = await self._cache.recall(list(keys))
        return {
            keys[key]: entry.device_id
            for key, value in values.items()
            if (entry := read(value, DeviceEntry, self._generation))
        }

    async def _sensors(
        self, sensors: Mapping[SeriesRef, SensorEntry], controllers: Mapping[SeriesRef, int]
    ) -> dict[SeriesRef, Sensor]:
        wanted = {number for sensor in sensors.values() for number in sensor.datapoint_ids}
        values = await self._cache.recall([entries.datapoint_key(number) for number in wanted])
        fields = {
            number: entry.field(number)
            for number in wanted
            if (entry := read(values.get(entries.datapoint_key(number)), DatapointEntry, self._generation))
        }
        return {
            ref: Sensor(
                sensor.device_id, tuple(fields[number] for number in sensor.datapoint_ids), controllers[ref]
            )
            for ref, sensor in sensors.items()
            if fields.keys() >= set(sensor.datapoint_ids)
        }


def _key(ref: SeriesRef, device_id: int) -> str:
    if ref.connector:
        return entries.sensor_key(device_id, ref.connector, ref.position)
    return entries.series_key(device_id, ref.label)


def _values(ref: SeriesRef, resolution: Resolution, generation: str) -> dict[str, bytes]:
    """Return what to store of one answer."""
    found: dict[str, Entry] = {}
    match resolution:
        case Series(device_id, datapoint_id) if not ref.connector:
            found[entries.device_key(ref.device)] = DeviceEntry(generation, device_id)
            found[entries.series_key(device_id, ref.label)] = SeriesEntry(generation, datapoint_id)
        case Sensor(device_id, fields, controller_id) if ref.connector and not ref.label:
            numbers = tuple(field.datapoint_id for field in fields)
            found[entries.device_key(ref.device)] = DeviceEntry(generation, controller_id)
            found[_key(ref, controller_id)] = SensorEntry(generation, device_id, numbers)
            found |= {
                entries.datapoint_key(field.datapoint_id): entries.of_field(field, generation)
                for field in fields
            }
        case Series() | Sensor() | Refusal():  # a pin's single datapoint: no message asks for one
            pass
    return {key: msgspec.json.encode(entry) for key, entry in found.items()}
