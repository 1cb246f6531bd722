"""F2 sensor reports that carry a Modbus reply: from hex text to checked frames, grouped by length."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from iotistic.telemetry.decode.modbus import (
    MAX_FRAME_BYTES,
    MIN_FRAME_BYTES,
    crc_is_right,
    frame_fault,
    parse_hex,
)
from iotistic.telemetry.model import Bytes2D, Decoded, Failure, Frames, Int64s


def decode_frames(
    texts: Sequence[str], series: Int64s, time_us: Int64s, message: Int64s, out: Decoded
) -> None:
    """Add the frames that `texts` hold to `out`; the other columns say whose and when each text is."""
    uniform = _uniform(texts)
    if uniform is not None:
        _check(uniform, np.arange(len(texts)), series, time_us, message, out)
        return
    by_length: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for i, text in enumerate(texts):
        frame = parse_hex(text)
        if frame is None:
            out.failures.append(Failure(int(message[i]), "decode.hex_invalid", "data is not hex text"))
        elif not MIN_FRAME_BYTES <= len(frame) <= MAX_FRAME_BYTES:
            detail = f"a frame has {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES} bytes, this one {len(frame)}"
            out.failures.append(Failure(int(message[i]), "decode.frame_length", detail))
        else:
            by_length[len(frame)].append((i, frame))
    for length, found in by_length.items():
        octets = np.frombuffer(b"".join(frame for _, frame in found), np.uint8).reshape(-1, length)
        _check(octets, np.array([i for i, _ in found]), series, time_us, message, out)


def _uniform(texts: Sequence[str]) -> Bytes2D | None:
    """Return all frames as one matrix when every text is the same length and plain hex; else None."""
    length = len(texts[0])
    # "01 03 0C ..": two digits a byte and a space between; or digits only.
    spaced = length % 3 == 2 and texts[0][2:3] == " "  # noqa: PLR2004
    n_bytes = (length + 1) // 3 if spaced else length // 2
    if not MIN_FRAME_BYTES <= n_bytes <= MAX_FRAME_BYTES or set(map(len, texts)) != {length}:
        return None
    try:
        octets = bytes.fromhex((" " if spaced else "").join(texts))
    except ValueError:
        return None
    if len(octets) != n_bytes * len(texts):
        return None
    frames = np.frombuffer(octets, np.uint8).reshape(len(texts), n_bytes)
    # A text of the right length with its spaces elsewhere would shift the bytes of its neighbours.
    return frames if not spaced or all(text[2::3].isspace() for text in texts) else None


def _check(
    octets: Bytes2D, index: Int64s, series: Int64s, time_us: Int64s, message: Int64s, out: Decoded
) -> None:
    right = crc_is_right(octets)
    out.failures += [
        Failure(int(message[i]), "decode.crc_mismatch", "the frame's checksum is wrong")
        for i in index[~right].tolist()
    ]
    keep = right.copy()
    suspicious = (octets[:, 1] & 0x80 != 0) | (octets[:, 2] != octets.shape[1] - MIN_FRAME_BYTES)
    for row in np.flatnonzero(right & suspicious).tolist():
        fault = frame_fault(octets[row].tobytes())
        if fault is not None:
            keep[row] = False
            out.failures.append(Failure(int(message[index[row]]), *fault))
    if keep.any():
        chosen = index[keep]
        out.frames.append(Frames(series[chosen], time_us[chosen], message[chosen], octets[keep]))
