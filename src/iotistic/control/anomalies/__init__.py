"""Anomalies: those that agents report, and those of devices without one, found in their stored readings.

model        what is told of an anomaly; pure           intake     takes reports of agents in
repository   rows of anomalies                          service    what people ask and say; schemas, routes
watch        detectors over many series; no I/O         series_rows, stream   feeds it from the database
teaching     takes verdicts to agents                   health     tells rollouts
"""
