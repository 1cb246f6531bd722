"""Accounts of people, their sessions, and API keys.

model.py      users, sessions, keys and why something about them is refused; pure
policy.py     which names and passwords are accepted; pure
passwords.py  slow hashes, in few threads
tokens.py     access tokens, and the random secrets of refresh tokens and API keys
brake.py      how often somebody may try
sessions.py   log in, refresh, log out            service.py  accounts, made and changed by people
api_keys.py   keys of programs                    owner.py    the first account
identity.py   whose bearer token this is, for control/access
desk.py       all of it put together              shared_counts.py  the brake's counts in Redis
"""
