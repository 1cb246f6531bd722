"""The routes of the device API, by what they are about."""
