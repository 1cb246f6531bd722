r"""Telemetry: decode -> resolve -> sink, as stages over batches that know nothing of where batches come from.

    transport --Messages--> decode --Decoded--> resolve --Rows--> sink --> PostgreSQL
                               \___________________\____DeadLetters___/

Times on this path are int64 microseconds since the epoch; columns are numpy arrays.
"""
