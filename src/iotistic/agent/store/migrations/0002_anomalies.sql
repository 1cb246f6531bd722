-- What the watch over readings keeps. Its own tables: states are rewritten every few minutes, and whoever reads
-- the agent's metadata is not to read them too.

-- What the detector of a stream knows; `lookup` is a keyed digest of the stream's name.
CREATE TABLE detector_states (
    lookup    BLOB PRIMARY KEY,
    sealed    BLOB NOT NULL,
    saved_at  REAL NOT NULL
);

-- Anomalies in the order in which they were found.
CREATE TABLE anomalies (
    id      INTEGER PRIMARY KEY,
    sealed  BLOB NOT NULL
);
