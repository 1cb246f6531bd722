"""What to do next so that a device's containers become what was declared: pure, the same on device and cloud."""
