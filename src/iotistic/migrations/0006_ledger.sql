-- The delivery ledger: which messages of each sender are stored, as ranges of their sequence numbers.

-- What sinks note in the transaction that stores the messages. One row a batch and no row shared: sinks
-- never wait for one another here. `ledger_fold` takes the rows away again and adds them up.
-- Arrays have one entry per run of consecutive sequence numbers; `repeated` counts what came twice in it.
CREATE TABLE ledger_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    source      text[] NOT NULL,
    epoch       bigint[] NOT NULL,
    first       bigint[] NOT NULL,
    last        bigint[] NOT NULL,
    repeated    integer[] NOT NULL
);
-- A queue: every row is deleted seconds after it was written.
ALTER TABLE ledger_log SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);

CREATE TABLE ledger_epochs (
    source       text NOT NULL,
    epoch        bigint NOT NULL,
    -- Stored sequence numbers from `floor` on. Below it they are not told apart any more (too many gaps).
    received     int8multirange NOT NULL,
    ranges       integer NOT NULL,
    floor        bigint NOT NULL DEFAULT 1,
    stored_below bigint NOT NULL DEFAULT 0,
    -- Distinct messages stored, below the floor too; the largest number seen; every message that came.
    stored       bigint NOT NULL,
    highest      bigint NOT NULL,
    messages     bigint NOT NULL,
    -- Messages that came below the floor: whether they were new or repeated cannot be said.
    untold       bigint NOT NULL DEFAULT 0,
    healed       bigint NOT NULL DEFAULT 0,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    -- When this was last changed, and when the sender was last told, by this database's clock.
    folded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at timestamptz,
    PRIMARY KEY (source, epoch)
) WITH (fillfactor = 70);
CREATE INDEX ledger_epochs_scattered ON ledger_epochs (source, epoch) WHERE ranges > 10000;

-- Epochs that were dropped from ledger_epochs, and why: too_many_epochs, too_old.
CREATE TABLE ledger_dropped (
    source  text NOT NULL,
    reason  text NOT NULL,
    epochs  bigint NOT NULL,
    sent    numeric NOT NULL,
    stored  numeric NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (source, reason)
);

-- Gaps and what was done about them.
CREATE TABLE ledger_gaps (
    source       text NOT NULL,
    epoch        bigint NOT NULL,
    -- Missing when it was last looked; what is still missing a watermark later becomes `noted`.
    suspected    int8multirange NOT NULL DEFAULT '{}',
    suspected_at timestamptz NOT NULL,
    noted        int8multirange NOT NULL DEFAULT '{}',
    -- As the sender says: sent again, and not to be had any more.
    again        int8multirange NOT NULL DEFAULT '{}',
    gone         int8multirange NOT NULL DEFAULT '{}',
    asked        integer NOT NULL DEFAULT 0,
    -- NULL when there is nothing to ask for; infinity once the sender is left alone.
    ask_at       timestamptz,
    PRIMARY KEY (source, epoch),
    FOREIGN KEY (source, epoch) REFERENCES ledger_epochs ON DELETE CASCADE
);
CREATE INDEX ledger_gaps_due ON ledger_gaps (ask_at) WHERE ask_at IS NOT NULL;

-- Signed statements of what was stored, one per sender and hour in which it sent; `body` is the JSON signed.
CREATE TABLE ledger_receipts (
    source    text NOT NULL,
    until     timestamptz NOT NULL,
    issued_at timestamptz NOT NULL,
    body      text NOT NULL,
    PRIMARY KEY (source, until)
);
CREATE INDEX ledger_receipts_until ON ledger_receipts (until);

CREATE FUNCTION ledger_count(ranges int8multirange) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(ranges) r
$$;

-- What is missing between the floor and the largest number seen.
CREATE FUNCTION ledger_missing(received int8multirange, floor bigint, highest bigint) RETURNS int8multirange
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN highest < floor THEN '{}' ELSE int8multirange(int8range(floor, highest, '[]')) - received END
$$;

-- Keep the newest epochs of some senders; what goes is added up.
CREATE FUNCTION ledger_drop_epochs(senders text[], keep integer) RETURNS void LANGUAGE sql AS $$
    WITH excess AS (
        SELECT source, epoch FROM (
            SELECT source, epoch, row_number() OVER (PARTITION BY source ORDER BY last_at DESC, epoch DESC) AS n
            FROM ledger_epochs WHERE source = ANY (senders)) ranked
        WHERE n > keep
    ), gone AS (
        DELETE FROM ledger_epochs e USING excess x WHERE (e.source, e.epoch) = (x.source, x.epoch) RETURNING e.*
    )
    INSERT INTO ledger_dropped AS d (source, reason, epochs, sent, stored, last_at)
    SELECT source, 'too_many_epochs', count(*), sum(highest), sum(stored), max(last_at) FROM gone GROUP BY source
    ON CONFLICT (source, reason) DO UPDATE SET
        epochs = d.epochs + excluded.epochs, sent = d.sent + excluded.sent,
        stored = d.stored + excluded.stored, last_at = greatest(d.last_at, excluded.last_at)
$$;

-- Give up telling apart the oldest messages of epochs with more gaps than the ledger keeps.
CREATE FUNCTION ledger_raise_floors() RETURNS void LANGUAGE sql AS $$
    UPDATE ledger_epochs e SET
        received = kept.received, ranges = kept.ranges, floor = kept.floor,
        stored_below = e.stored - ledger_count(kept.received)
    FROM (
        SELECT source, epoch, range_agg(r) AS received, count(*) AS ranges, min(lower(r)) AS floor
        FROM (SELECT source, epoch, r, row_number() OVER (PARTITION BY source, epoch ORDER BY r DESC) AS n
              FROM ledger_epochs, unnest(received) r WHERE ranges > 10000) ranked
        WHERE n <= 5000 GROUP BY source, epoch
    ) kept
    WHERE (e.source, e.epoch) = (kept.source, kept.epoch)
$$;

-- Add up to `most` rows of the log to the epochs; returns how many there were. Safe to call from anywhere:
-- one call at a time does the work; others wait for it, or do nothing when they are not `patient`.
CREATE FUNCTION ledger_fold(most integer, patient boolean DEFAULT true) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    folded  integer;
    began   text[];
BEGIN
    IF patient THEN
        PERFORM pg_advisory_xact_lock(hashtext('ledger_fold'));
    ELSIF NOT pg_try_advisory_xact_lock(hashtext('ledger_fold')) THEN
        RETURN 0;
    END IF;
    WITH taken AS (
        DELETE FROM ledger_log l USING (SELECT id FROM ledger_log ORDER BY id LIMIT most) oldest
        WHERE l.id = oldest.id RETURNING l.*
    ), runs AS (
        SELECT r.source, r.epoch, r.first, r.last, r.repeated, t.received_at
        FROM taken t, unnest(t.source, t.epoch, t.first, t.last, t.repeated) r (source, epoch, first, last, repeated)
    ), heard AS (
        SELECT source, epoch, range_agg(int8range(first, last, '[]')) AS received, max(last) AS highest,
               sum(last - first + 1 + repeated)::bigint AS messages,
               min(received_at) AS first_at, max(received_at) AS last_at,
               row_number() OVER (PARTITION BY source ORDER BY max(received_at) DESC, epoch DESC) AS n
        FROM runs GROUP BY source, epoch
    ), joined AS (
        SELECT h.source, h.epoch, h.highest, h.messages, h.first_at, h.last_at,
               coalesce(e.floor, 1) AS floor, coalesce(e.stored_below, 0) AS stored_below,
               CASE WHEN e.floor > 1 THEN ledger_count(h.received * int8multirange(int8range(1, e.floor)))
                    ELSE 0 END AS untold,
               CASE WHEN e.source IS NULL THEN h.received
                    WHEN e.floor > 1 THEN e.received + h.received * int8multirange(int8range(e.floor, NULL))
                    ELSE e.received + h.received END AS received
        FROM heard h LEFT JOIN ledger_epochs e ON (e.source, e.epoch) = (h.source, h.epoch)
        -- A sender with very many epochs at once keeps its newest; the others were dropped before they began.
        WHERE h.n <= 32 OR e.source IS NOT NULL
    ), written AS (
        INSERT INTO ledger_epochs AS l
            (source, epoch, received, ranges, floor, stored_below, stored, highest, messages, untold, first_at, last_at)
        SELECT j.source, j.epoch, j.received, size.ranges, j.floor, j.stored_below,
               j.stored_below + size.count, j.highest, j.messages, j.untold, j.first_at, j.last_at
        FROM joined j, LATERAL (SELECT count(*) AS ranges, sum(upper(r) - lower(r))::bigint AS count
                                FROM unnest(j.received) r) size
        ON CONFLICT (source, epoch) DO UPDATE SET
            received = excluded.received, ranges = excluded.ranges, stored = excluded.stored,
            highest = greatest(l.highest, excluded.highest), messages = l.messages + excluded.messages,
            untold = l.untold + excluded.untold, first_at = least(l.first_at, excluded.first_at),
            last_at = greatest(l.last_at, excluded.last_at), folded_at = clock_timestamp()
        RETURNING source, xmax = 0 AS is_new
    ), skipped AS (
        INSERT INTO ledger_dropped AS d (source, reason, epochs, sent, stored, last_at)
        SELECT h.source, 'too_many_epochs', count(*), sum(h.highest), sum(ledger_count(h.received)), max(h.last_at)
        FROM heard h WHERE h.n > 32
            AND NOT EXISTS (SELECT FROM ledger_epochs e WHERE (e.source, e.epoch) = (h.source, h.epoch))
        GROUP BY h.source
        ON CONFLICT (source, reason) DO UPDATE SET
            epochs = d.epochs + excluded.epochs, sent = d.sent + excluded.sent,
            stored = d.stored + excluded.stored, last_at = greatest(d.last_at, excluded.last_at)
    )
    SELECT (SELECT count(*) FROM taken), array_agg(DISTINCT source) FILTER (WHERE is_new)
    INTO folded, began FROM written;
    IF began IS NOT NULL THEN
        PERFORM ledger_drop_epochs(began, 32);
    END IF;
    IF EXISTS (SELECT FROM ledger_epochs WHERE ranges > 10000) THEN
        PERFORM ledger_raise_floors();
    END IF;
    RETURN folded;
END $$;

-- Look at every gap: count what was filled since it was noted, note what has been missing for `watermark`,
-- and say when the sender is to be asked again. Returns how many epochs have noted gaps.
CREATE FUNCTION ledger_watch(watermark interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    with_gaps integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger_fold'));
    WITH filled AS (
        SELECT g.source, g.epoch, ledger_count(g.noted * e.received) AS healed
        FROM ledger_gaps g JOIN ledger_epochs e USING (source, epoch) WHERE g.noted && e.received
    )
    UPDATE ledger_epochs e SET healed = e.healed + f.healed
    FROM filled f WHERE (e.source, e.epoch) = (f.source, f.epoch) AND f.healed > 0;

    WITH seen AS (
        SELECT g.source, g.epoch, g.asked, g.ask_at, g.noted - e.received AS standing,
               ledger_missing(e.received, e.floor, e.highest) AS missing,
               g.suspected_at <= clock_timestamp() - watermark AS is_due, g.suspected - e.received AS suspected,
               g.noted && e.received AS has_healed
        FROM ledger_gaps g JOIN ledger_epochs e USING (source, epoch)
    ), judged AS (
        SELECT s.*, CASE WHEN is_due THEN (standing + suspected) * missing ELSE standing * missing END AS noted
        FROM seen s
    )
    UPDATE ledger_gaps g SET
        noted = j.noted,
        suspected = CASE WHEN j.is_due THEN j.missing ELSE j.suspected END,
        suspected_at = CASE WHEN j.is_due THEN clock_timestamp() ELSE g.suspected_at END,
        asked = CASE WHEN j.has_healed THEN 0 ELSE g.asked END,
        ask_at = CASE WHEN isempty(j.noted - g.gone) THEN NULL
                      WHEN j.has_healed AND g.ask_at = 'infinity' THEN clock_timestamp()
                      ELSE coalesce(g.ask_at, clock_timestamp()) END
    FROM judged j WHERE (g.source, g.epoch) = (j.source, j.epoch)
        AND (j.is_due OR j.has_healed OR (g.ask_at IS NULL) <> isempty(j.noted - g.gone));

    DELETE FROM ledger_gaps g USING ledger_epochs e
    WHERE (e.source, e.epoch) = (g.source, g.epoch) AND isempty(g.noted)
        AND isempty(ledger_missing(e.received, e.floor, e.highest));
    INSERT INTO ledger_gaps (source, epoch, suspected, suspected_at)
    SELECT source, epoch, ledger_missing(received, floor, highest), clock_timestamp() FROM ledger_epochs
    WHERE stored - stored_below < highest - floor + 1
    ON CONFLICT DO NOTHING;
    SELECT count(*) INTO with_gaps FROM ledger_gaps WHERE NOT isempty(noted);
    RETURN with_gaps;
END $$;
