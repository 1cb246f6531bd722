"""`iotistic train`: forecasters for the anomaly detection, made here and shipped to devices."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from iotistic.contracts.forecast_trust import verify_key
from iotistic.contracts.forecasts import MOST_WEIGHT, ForecastWish
from iotistic.detection.forecaster import Forecaster, ForecasterRefused, SignatureWrong, about, pack, signed
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.output import emit
from iotistic.entrypoints.training import (
    TrainSettings,
    authority_of,
    has_authority,
    readings_of,
    shown_progress,
)
from iotistic.kernel.errors import Invalid
from iotistic.kernel.files import PUBLIC, write_atomic
from iotistic.kernel.settings import load_settings
from iotistic.telemetry.query.times import parse_time
from iotistic.training.recipe import Recipe
from iotistic.training.sources import read_series
from iotistic.training.windows import cut

app = App(name="train", help="Train forecasters for the anomaly detection.", help_format="plaintext")

Flag = Annotated[bool, Parameter(negative="")]
_MOST_SEED = 2**32 - 1


class DataNotChosen(Invalid):
    """Give either --data or --database."""

    code = "train.data_not_chosen"


class SinceInvalid(Invalid):
    """The time of --since cannot be understood."""

    code = "train.since_invalid"


class FileRefused(Invalid):
    """The file is no forecaster that may be used."""

    code = "train.file_refused"


@app.command
def forecast(
    *,
    data: Path | None = None,
    database: Flag = False,
    device: str | None = None,
    metric: str | None = None,
    since: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-30d",
    out: Path = Path("forecaster.npz"),
    seed: Annotated[int, Parameter(validator=Number(gte=0, lte=_MOST_SEED))] = 0,
    epochs: Annotated[int, Parameter(validator=Number(gte=1, lte=10_000))] = 40,
    units: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 32,
    window: Annotated[int, Parameter(validator=Number(gte=32, lte=4096))] = 128,
    json: AsJson = False,
) -> None:
    """Train a small LSTM that says what the next value of a stream will be.

    It ends early once held-out windows get no better. The file is signed by this installation's certificate
    authority; where there is none, sign it later with `iotistic train sign`.

    Parameters
    ----------
    data
        CSV file (timestamp,value), a folder of them, or a folder of labelled streams.
    database
        Learn from readings in the database instead (DATABASE_URL, or the embedded one while it runs).
    device
        With --database: only this device (id, MAC, uuid, external key or name).
    metric
        With --database: only this datapoint label.
    since
        With --database: how far back, an age such as -30d or an ISO 8601 time.
    out
        The file to write.
    seed
        Same seed, data and machine: the same file, on a CPU.
    epochs
        Most passes over the data.
    units
        Size of the network.
    window
        Values that are learned from in one piece.
    """
    from iotistic.training.fitting import fit  # noqa: PLC0415  JAX takes a second, and is no part of others' install

    settings = load_settings(TrainSettings)
    series = _series(settings, data, database=database, device=device, metric=metric, since=since)
    recipe = Recipe(seed=seed, epochs=epochs, units=units, window=window)
    learned, held_out = cut(series, length=recipe.window, spread_gain=recipe.spread_gain)
    with shown_progress(epochs, quiet=json) as show:
        fitted = fit(
            learned, held_out, recipe, lambda epoch: show(epoch.number, epoch.learned, epoch.held_out)
        )
    sign = authority_of(settings).sign if has_authority(settings) else None
    file = pack(fitted.weights, {**fitted.about, "series": len(series)}, sign)
    write_atomic(out, file, mode=PUBLIC)
    told = {"file": out, "bytes": len(file), "signed": sign is not None, "seed": seed, "series": len(series)}
    emit({**told, **fitted.about["figures"]}, json=json)
    if sign is None and not json:
        sys.stderr.write("not signed: run `iotistic train sign` on the file where the installation is\n")


@app.command
def sign(file: Path, *, json: AsJson = False) -> None:
    """Sign a forecaster that was trained elsewhere, in its place.

    Parameters
    ----------
    file
        The file, as `train forecast` wrote it.
    """
    authority = authority_of(load_settings(TrainSettings))
    try:
        content = signed(_read(file), authority.sign)
    except ForecasterRefused as exc:
        raise _refused(file, exc) from exc
    write_atomic(file, content, mode=PUBLIC)
    emit({"file": file, "bytes": len(content), "signed": True}, json=json)


@app.command
def show(
    file: Path,
    *,
    target: Flag = False,
    weight: Annotated[float, Parameter(validator=Number(gte=0, lte=MOST_WEIGHT))] = 0.0,
    json: AsJson = False,
) -> None:
    """Say what a forecaster is, and whether devices of this installation will take it.

    Parameters
    ----------
    file
        The file.
    target
        Print the part of a device's target that ships it; refused unless devices will take it.
    weight
        With --target: what a forecast's error counts when a sample is judged, where each other judge has 1.
    """
    content, settings = _read(file), load_settings(TrainSettings)
    try:
        known = about(content)
        if target:
            Forecaster.load(content, verify_key(authority_of(settings).pem))
            emit(ForecastWish(content, weight).write(), json=True)
            return
        taken = has_authority(settings) and _is_taken(content, authority_of(settings).pem)
    except ForecasterRefused as exc:
        raise _refused(file, exc) from exc
    emit({**known, "taken_by_devices": taken}, json=json)


def _series(
    settings: TrainSettings,
    data: Path | None,
    *,
    database: bool,
    device: str | None,
    metric: str | None,
    since: str,
) -> Mapping[str, Sequence[float]]:
    if (data is None) != database:
        raise DataNotChosen
    if data is not None:
        return read_series(data)
    try:
        start = parse_time(since)
    except ValueError as exc:
        raise SinceInvalid(f"--since: {exc}") from exc
    return readings_of(settings, device=device, metric=metric, since=start)


def _is_taken(content: bytes, ca_pem: str) -> bool:
    try:
        Forecaster.load(content, verify_key(ca_pem))
    except SignatureWrong:
        return False
    return True


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise FileRefused(f"{file} cannot be read: {exc.strerror}") from exc


def _refused(file: Path, exc: ForecasterRefused) -> FileRefused:
    return FileRefused(f"{file}: {exc}", reason=exc.code)
