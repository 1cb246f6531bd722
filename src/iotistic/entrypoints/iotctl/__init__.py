"""`iotctl`: what a person on a device asks of its agent, over the device API."""
