"""Images by what they are: registries, their credentials, and the digests that tags stand for."""
