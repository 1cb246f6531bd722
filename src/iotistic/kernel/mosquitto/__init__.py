"""Mosquitto as a managed child: its files, its process, its log, and control over its clients."""
