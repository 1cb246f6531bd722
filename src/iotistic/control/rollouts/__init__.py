"""The fleet's plan: what a change of targets would do to each device, and doing it in waves that can be stopped.

model        rollouts and the parts of devices: states, what may follow what; pure
policy       waves, pace, windows, rules: what a rollout was told to keep to; pure
judging      what to do next about a part and about a rollout; pure
sequential   whether updated devices fail more often than the others, looked at as often as one likes; pure
changes      a change applied to a device's target; pure
rebuilding   a device as it is, from what it reported; pure
predicting   the planner run to its end: steps, seconds, downtime; pure
health       what reports say of an update; pure            signals  what others know of a device's health
selection    which devices                                  reading  what is known of them, in two statements
preview      all of the above over a fleet                  targets  many targets at once, in the caller's transaction
repository   rows          engine  the loop          service  use cases          routes, schemas  over HTTP
"""
