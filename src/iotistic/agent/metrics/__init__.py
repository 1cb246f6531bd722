"""How the machine under the agent is doing: read from /proc and /sys, without a library that has no wheel for it."""
