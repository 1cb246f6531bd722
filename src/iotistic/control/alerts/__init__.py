r"""Alerts: rules on telemetry, logs and the state of devices, and telling people.

    sink's marks, readings --\
    log lines ---------------+--> watchers --> evaluate (pure) --> alerts + deliveries, one transaction
    reports of devices ------/                                            \--> courier --> webhook, mail

conditions  what can be asked            evaluate, log_evaluate, signals   the judgement, pure
watching, late, sweeping   live          backtest   the same judgement over what is stored
service, routes            the API       courier, webhook, mail   delivery
"""
