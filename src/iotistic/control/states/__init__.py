"""What devices should be, and what they say they are.

model    targets, their text and ETag        repository   rows
service  poll, report; set, deploy, cancel, roll back     routes   the device's side
"""
