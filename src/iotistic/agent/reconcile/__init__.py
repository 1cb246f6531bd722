"""Observe, plan, carry out, and again."""
