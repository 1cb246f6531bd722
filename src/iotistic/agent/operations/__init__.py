"""What people on the device ask for: services stopped, paused, restarted, data removed; on top of the target."""
