"""Where the device API is, when nobody says anything else."""

PORT = 48484
KEY_FILE = "device-api.key"
"""In the agent's folder, mode 600: who may read it may use the API."""
