"""Figures of devices over time, and what runs on them.

model       what a report says of them       recorder     written with the report, many together
repository  rows                             routes       asked for charts
"""
