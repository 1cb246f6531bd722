-- A name for the state that the metadata is in, for caches that outlive a process.

-- The sum of all marks names the state: every transaction that changes metadata adds a random number, in
-- the same instant in which its change becomes visible. Rows are only added, so nobody waits for anybody;
-- folding many rows into one keeps the sum. A restored backup shows the sum that belonged to its state.
CREATE TABLE metadata_marks (
    txid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
    mark numeric NOT NULL DEFAULT 1 + floor(random() * 1e15)
);
INSERT INTO metadata_marks DEFAULT VALUES;

CREATE OR REPLACE FUNCTION metadata_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO metadata_marks DEFAULT VALUES ON CONFLICT DO NOTHING;
    PERFORM pg_notify('metadata_changed', TG_TABLE_NAME);
    RETURN NULL;
END $$;
