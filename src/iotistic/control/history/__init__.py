"""Histories of devices: partitions that are made ahead and dropped when they are old, and leftovers cleared."""
