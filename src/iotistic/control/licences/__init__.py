"""What an installation may do by its licence: a signed token, judged at each load against the time.

Without a key to check licences with (LICENSE_PUBLIC_KEY) nothing is sold here, and nothing limited.
"""
