"""How devices become known: three doors, one registration.

keys            provisioning keys: made, listed, revoked       key_rows        their rows, uses taken atomically
attempts        who tries, and the brake                       envelope_keys   the cloud's keys for envelopes
certificates    certificates of devices, through a port        answering       what a device is given
registration    a device is taken into the fleet               proving         challenges and the last step
rows            rows of registrations                          routes, key_routes   the doors, and the operator's side

The third door (proof of possession) is part of the first: whoever registers with a signing request has to sign
a challenge, and a device that is known comes back in no other way.
"""
