"""The control plane's rooms put together for a process: settings, gate, services, routes."""
