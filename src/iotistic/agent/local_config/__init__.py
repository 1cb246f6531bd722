"""Settings of the agent that people change on the device."""
