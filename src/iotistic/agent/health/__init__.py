"""Probes: whether containers live, and whether they serve."""
