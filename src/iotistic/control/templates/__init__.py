"""Targets with variables in them, filled in for each device."""
