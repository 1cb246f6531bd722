"""Who may do what in the control plane.

model.py      permissions, roles and principals; pure
addresses.py  where a request comes from, behind proxies that are trusted
rules.py      what a route needs of its caller: `requires`, `signed_in`, `device_credential`, `public`
routing.py    which route needs what, and the check that none is without

A database belongs to one tenant, so a tenant is never chosen by a request: the scope of a principal says
which devices of that tenant it sees.
"""
