"""Who did what, from where, with what before and after; and what happened to devices.

port         what services see of it: `Trail`, `Events`, and the silent ones
model        entries, the hash of a link; pure         redaction   what is kept out; pure
trail        writes entries in the caller's transaction    events   writes what happens to devices
origin       where a request comes from, for entries   repository  rows
sealing      links entries into the chain              verifying   looks for what was changed since
partitions   months and days ahead; what is too old leaves as a whole    keeper   the loops of both
replay       the state of a device at a time, and what differs; pure
stream       searches, replays                         routes      /audit, /events
seldom       at most once a minute                       presence_events   comings and goings as events
"""
