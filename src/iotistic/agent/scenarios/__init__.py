"""Simulation mode: sensors, anomalies and a memory leak, for trying the agent without hardware."""
