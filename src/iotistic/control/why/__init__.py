"""Why a device is offline, not updated, limited, or was rolled back: in plain words, with the fix.

port         what services see of it: `Decisions`, and the silent one
model        what is asked, decision records, causes, findings; pure
facts        what is known of a device at this moment; pure
catalogue    all causes, the nearest first      offline, updates, limits, rollbacks   the causes; pure
finding      what causes are written with; pure
engine       facts -> the chain of causes; pure
records      decision records: written and read     gathering   facts from the database, and providers of other rooms
notes        what presence and rollouts decide, written down      providers   a lease, a part in a rollout
service      the use case                           routes      /why
"""
