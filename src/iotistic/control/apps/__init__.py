"""Apps of devices, one at a time: added, changed, started, stopped and deployed without touching the others."""
