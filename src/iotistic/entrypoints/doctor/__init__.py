"""`iotistic doctor`: looks at everything an installation stands on, and says the fix.

check.py    one finding
machine.py  what is true whether or not anything runs
running.py  what only a running installation shows
"""
