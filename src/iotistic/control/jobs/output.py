"""Texts of devices as they are kept: within bounds, and of characters that a database takes."""

_NOTE = "\n[… {left_out} characters left out …]\n"


def kept_text(text: str, most: int) -> str:
    """Return a text in about `most` characters: its beginning and its end, and between them how much is not there."""
    clean = text.replace("\0", "�").encode("utf-8", "replace").decode()
    if len(clean) <= most:
        return clean
    head, tail = clean[: most - most // 2], clean[len(clean) - most // 2 :]
    return head + _NOTE.format(left_out=len(clean) - most) + tail
