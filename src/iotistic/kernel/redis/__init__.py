"""Redis as something extra: used while it answers, left alone while it does not. Needs the `redis` extra."""
