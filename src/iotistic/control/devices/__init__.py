"""Devices of fleets, and the API keys that they speak with.

model       what a device and a key are      keys      making and recognising keys
repository  rows                             service   recognise, rotate, remove
access      what a route needs of a device   wire      bodies as devices send them, refusals as they read them
"""
