"""The agent's own update: ordered by the cloud, taken from where the device says, proved by a signature, tried out.

order -> decide -> fetch -> verify -> install beside -> restart into it -> well? -> it stays
                                                              '-- no, or it died --> the one before
"""
