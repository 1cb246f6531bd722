"""The certificate authority: identities of devices and of our own servers, and their revocation.

ca.py         signs certificates and revocation lists (no I/O)
csr.py        what a signing request must be, and keys made for devices that cannot make one
keystore.py   the authority's key on disk, encrypted
identities.py certificates of the broker and of this service, kept as files
service.py    issue, renew, revoke; revocation.py carries a revocation to the broker
"""
