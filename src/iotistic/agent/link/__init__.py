"""The agent's way to its cloud: seldom, politely, and able to do without."""
