"""The agent's process: which engine, which disk, which target."""
