"""Readings of sensors, on their way to the cloud."""
