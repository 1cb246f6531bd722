"""What runs containers: one interface, several engines."""
