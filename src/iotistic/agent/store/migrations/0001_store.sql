-- What the agent keeps. Contents are sealed with the key file; numbers, times and kinds are in the clear.
-- Only what SQLite 3.34 knows (Debian 11): no STRICT, no RETURNING.

-- A known text, sealed: tells whether the key fits.
CREATE TABLE store_key (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    sealed  BLOB NOT NULL
);

-- Who this device is, and its credentials.
CREATE TABLE device (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    sealed  BLOB NOT NULL
);

-- The state that is wanted, and the one that was last reported, each with its SHA-256.
CREATE TABLE state_snapshots (
    kind      TEXT PRIMARY KEY CHECK (kind IN ('current', 'target')),
    sealed    BLOB NOT NULL,
    saved_at  REAL NOT NULL
);

-- What the reconciler remembers.
CREATE TABLE record (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    sealed    BLOB NOT NULL,
    saved_at  REAL NOT NULL
);

-- Devices on the field bus; `lookup` is a keyed digest of their uuid.
CREATE TABLE endpoints (
    lookup        BLOB PRIMARY KEY,
    sealed        BLOB NOT NULL,
    last_seen_at  REAL
);

-- Where each protocol's readings go.
CREATE TABLE sensor_outputs (
    protocol  TEXT PRIMARY KEY,
    sealed    BLOB NOT NULL
);

CREATE TABLE agent_metadata (
    name    TEXT PRIMARY KEY,
    sealed  BLOB NOT NULL
);

-- Messages in the order in which they are to be sent. The only page that an append changes is the last one.
CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY,
    sealed  BLOB NOT NULL
);

-- Ids count on over epochs: a sequence number is the id less what came before its epoch.
CREATE TABLE outbox_epochs (
    epoch   INTEGER PRIMARY KEY,
    before  INTEGER NOT NULL
);

-- is_open 0: the next message begins an epoch. floor: the largest id that was ever removed.
-- sent: everything up to it was sent. dropped: messages that made room for younger ones.
CREATE TABLE outbox_state (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    is_open  INTEGER NOT NULL DEFAULT 0,
    floor    INTEGER NOT NULL DEFAULT 0,
    sent     INTEGER NOT NULL DEFAULT 0,
    dropped  INTEGER NOT NULL DEFAULT 0
);
INSERT INTO outbox_state (id) VALUES (1);
