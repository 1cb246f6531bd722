"""The agent on a device: keeps its containers equal to a declared target state, also without a network."""
