"""Logs of devices: uploaded in any size, kept by day, searched, followed.

line        what a line is, and what tells it from others    unpacking   a body as lines, with bounded memory
allowance   how much a device may send                       repository  rows
service     upload and search                                following   lines as they come
routes      the device's side, and the people's              settings
"""
