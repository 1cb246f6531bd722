"""`iotistic up`: the process tree of one installation on one machine.

    ports -> PostgreSQL -> migrations -> pki, maintenance -> broker certificate -> Mosquitto
          -> api, ingest workers -> endpoints.json -> simulator

Promises: a second `up` on the same home is refused; a child that dies is started again with backoff;
SIGINT and SIGTERM stop everything in reverse order; `kill -9` of `up` leaves no process behind.
"""
