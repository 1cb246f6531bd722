"""Iotistic: an open IoT platform, from the device to the invoice."""

__version__: str


def __getattr__(name: str) -> str:
    """Return `__version__`, looked up when somebody asks: what finds it takes 30 ms and a megabyte."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415

    found = globals()[name] = version("iotistic")
    return found
