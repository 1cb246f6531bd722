-- Where gaps stand, how long they take to heal, and receipts that are sent to devices.

-- What was noted as missing at one look. `missing_since` is the look at which it was missing first; by then,
-- `came_by`, a later number had been stored. `ledger_gaps.noted` is the union of these. Few rows of one epoch:
-- when there are many, the oldest are joined; the two times are those of the first and the last of them then.
CREATE TABLE ledger_noted (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text NOT NULL,
    epoch         bigint NOT NULL,
    missing_since timestamptz NOT NULL,
    came_by       timestamptz NOT NULL,
    ranges        int8multirange NOT NULL,
    FOREIGN KEY (source, epoch) REFERENCES ledger_epochs ON DELETE CASCADE
);
CREATE INDEX ledger_noted_of ON ledger_noted (source, epoch);
INSERT INTO ledger_noted (source, epoch, missing_since, came_by, ranges)
SELECT source, epoch, suspected_at, suspected_at, noted FROM ledger_gaps WHERE NOT isempty(noted);

-- How long healed messages had been missing: messages by a quarter of a factor of two, and the longest in it.
CREATE TABLE ledger_healing (
    source   text NOT NULL,
    epoch    bigint NOT NULL,
    bucket   smallint NOT NULL,
    messages bigint NOT NULL,
    longest  interval NOT NULL,
    PRIMARY KEY (source, epoch, bucket),
    FOREIGN KEY (source, epoch) REFERENCES ledger_epochs ON DELETE CASCADE
);

-- As the sender says: kept there, and to be sent when its turn in the catch-up lane comes; when it answered.
ALTER TABLE ledger_gaps ADD COLUMN waiting int8multirange NOT NULL DEFAULT '{}', ADD COLUMN answered_at timestamptz;

-- How many messages senders say that they keep back, and when they said so.
CREATE TABLE ledger_backlogs (
    source   text PRIMARY KEY,
    waiting  bigint NOT NULL,
    asked_at timestamptz NOT NULL
);

-- How far the stages before the database are, by stage and part of it (a partition, a broker). At `seen_at[i]`
-- everything that had come to it before `clear_until[i]` had left it. The last few looks, oldest first.
CREATE TABLE ledger_stages (
    stage       text NOT NULL,
    part        text NOT NULL,
    looked_at   timestamptz NOT NULL,
    waiting     bigint,
    seen_at     timestamptz[] NOT NULL,
    clear_until timestamptz[] NOT NULL,
    PRIMARY KEY (stage, part)
) WITH (fillfactor = 50);

-- Receipts go to their senders: when one may be sent, and when the broker took it. Those there are have been
-- offered only, and are not sent all at once now.
ALTER TABLE ledger_receipts ADD COLUMN send_at timestamptz NOT NULL DEFAULT 'infinity', ADD COLUMN sent_at timestamptz;
CREATE INDEX ledger_receipts_unsent ON ledger_receipts (send_at) WHERE sent_at IS NULL AND send_at < 'infinity';

-- Count what was filled since it was noted, in epochs that changed since `since` (null: all). Returns one row
-- for each run of messages that came, and how long it had been missing.
CREATE FUNCTION ledger_heal(since timestamptz) RETURNS TABLE (missing_s double precision, messages bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger_fold'));
    RETURN QUERY
    WITH seen AS (
        SELECT n.id, n.source, n.epoch, n.missing_since, n.ranges * e.received AS came,
               n.ranges * ledger_missing(e.received, e.floor, e.highest) AS standing
        FROM ledger_noted n JOIN ledger_epochs e USING (source, epoch)
        WHERE (since IS NULL OR e.folded_at >= since)
    ), gone AS (
        DELETE FROM ledger_noted n USING seen s WHERE n.id = s.id AND isempty(s.standing)
    ), kept AS (
        UPDATE ledger_noted n SET ranges = s.standing FROM seen s
        WHERE n.id = s.id AND NOT isempty(s.standing) AND n.ranges <> s.standing
    ), healed AS (
        SELECT s.source, s.epoch, clock_timestamp() - s.missing_since AS missing, upper(r) - lower(r) AS count
        FROM seen s, unnest(s.came) r
    ), counted AS (
        UPDATE ledger_epochs e SET healed = e.healed + h.count
        FROM (SELECT h.source, h.epoch, sum(h.count)::bigint AS count FROM healed h GROUP BY 1, 2) h
        WHERE (e.source, e.epoch) = (h.source, h.epoch)
    ), timed AS (
        INSERT INTO ledger_healing AS t (source, epoch, bucket, messages, longest)
        SELECT h.source, h.epoch, b.bucket, sum(h.count), max(h.missing)
        FROM healed h, LATERAL (SELECT floor(4 * log(2, greatest(extract(epoch FROM h.missing), 0.001)))::smallint
                                AS bucket) b
        GROUP BY 1, 2, 3
        ON CONFLICT (source, epoch, bucket) DO UPDATE SET
            messages = t.messages + excluded.messages, longest = greatest(t.longest, excluded.longest)
    )
    SELECT extract(epoch FROM h.missing)::double precision, h.count FROM healed h;
END $$;

-- Look at every gap: note what has been missing for `watermark`, and say when the sender is to be asked again.
-- Returns how many epochs have noted gaps.
CREATE OR REPLACE FUNCTION ledger_watch(watermark interval) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    with_gaps integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger_fold'));
    WITH seen AS (
        SELECT g.source, g.epoch, g.noted - e.received AS standing,
               ledger_missing(e.received, e.floor, e.highest) AS missing, g.suspected_at,
               g.suspected_at <= clock_timestamp() - watermark AS is_due, g.suspected - e.received AS suspected,
               g.noted && e.received AS has_healed
        FROM ledger_gaps g JOIN ledger_epochs e USING (source, epoch)
    ), judged AS (
        SELECT s.*, CASE WHEN is_due THEN (standing + suspected) * missing ELSE standing * missing END AS noted
        FROM seen s
    ), added AS (
        INSERT INTO ledger_noted (source, epoch, missing_since, came_by, ranges)
        SELECT j.source, j.epoch, j.suspected_at, j.suspected_at, j.noted - j.standing
        FROM judged j WHERE NOT isempty(j.noted - j.standing)
    )
    UPDATE ledger_gaps g SET
        noted = j.noted,
        again = g.again * j.noted, gone = g.gone * j.noted, waiting = g.waiting * j.noted,
        suspected = CASE WHEN j.is_due THEN j.missing ELSE j.suspected END,
        suspected_at = CASE WHEN j.is_due THEN clock_timestamp() ELSE g.suspected_at END,
        asked = CASE WHEN j.has_healed THEN 0 ELSE g.asked END,
        ask_at = CASE WHEN isempty(j.noted - g.gone) THEN NULL
                      WHEN j.has_healed AND g.ask_at = 'infinity' THEN clock_timestamp()
                      ELSE coalesce(g.ask_at, clock_timestamp()) END
    FROM judged j WHERE (g.source, g.epoch) = (j.source, j.epoch)
        AND (j.is_due OR j.has_healed OR (g.ask_at IS NULL) <> isempty(j.noted - g.gone));

    WITH ranked AS (
        SELECT id, row_number() OVER (PARTITION BY source, epoch ORDER BY missing_since DESC, id DESC) AS n
        FROM ledger_noted WHERE (source, epoch) IN
            (SELECT source, epoch FROM ledger_noted GROUP BY source, epoch HAVING count(*) > 16)
    ), oldest AS (
        DELETE FROM ledger_noted n USING ranked r WHERE n.id = r.id AND r.n >= 16 RETURNING n.*
    )
    INSERT INTO ledger_noted (source, epoch, missing_since, came_by, ranges)
    SELECT source, epoch, min(missing_since), max(came_by), range_agg(r)
    FROM oldest, unnest(ranges) r GROUP BY source, epoch;

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
