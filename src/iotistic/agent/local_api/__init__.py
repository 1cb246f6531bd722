"""The device API: HTTP on the device itself, for people, dashboards and apps on it."""
