"""Which devices are here: a lease that signs of life renew, and a keeper that ends it, once.

model       what a transition is             repository   rows
service     notice signs of life, sessions   keeper       the loop: write down, listen, sweep
routes      what somebody may ask of it
"""
