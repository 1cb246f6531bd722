"""Iotistic: an open IoT platform, from the device to the invoice."""

from importlib.metadata import version

__version__ = version("iotistic")
