"""What the agent keeps on its disk: one SQLite file, and a key file that it is unreadable without."""
