"""Simulated devices, which behave as real ones do at the wire."""
