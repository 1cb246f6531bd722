-- The ledger's log is added up at half the cost: see decision 0013.

-- As before, but for two things. Arrays are unnested side by side in the select list, not by a join. And numbers
-- become ranges by blocks of 32, as bits of one integer: in a large fleet nearly every message is a run of its
-- own, and sorting a range for each of them was half of the work. A block whose bits leave no hole is one range;
-- runs that reach over the end of a block are ranges as they are. `last` and `repeated` may be empty arrays,
-- where all runs are single messages and none came twice.
CREATE OR REPLACE FUNCTION ledger_fold(most integer, patient boolean DEFAULT true) RETURNS integer
LANGUAGE plpgsql AS $$
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
    ), noted AS (
        SELECT source, epoch, first, coalesce(last, first) AS last, coalesce(repeated, 0) AS repeated,
               first >> 5 AS block, received_at
        FROM (SELECT unnest(source) AS source, unnest(epoch) AS epoch, unnest(first) AS first, unnest(last) AS last,
                     unnest(repeated) AS repeated, received_at FROM taken) side_by_side
        OFFSET 0  -- computed once, not wherever it is named
    ), runs AS (
        SELECT source, epoch, block, last, last - first + 1 + repeated AS messages, received_at,
               CASE WHEN last >> 5 = block
                    THEN ((1::bigint << (last - first + 1)::integer) - 1) << (first & 31)::integer END AS bits,
               CASE WHEN last >> 5 > block THEN int8range(first, last + 1) END AS long
        FROM noted
    ), blocks AS (
        SELECT source, epoch, block, bit_or(bits) AS bits, range_agg(long) FILTER (WHERE long IS NOT NULL) AS long,
               max(last) AS highest, sum(messages)::bigint AS messages,
               min(received_at) AS first_at, max(received_at) AS last_at
        FROM runs GROUP BY source, epoch, block
    ), parts AS (
        -- Adding the lowest bit carries through to the end exactly when there is no hole.
        SELECT b.*, (bits + (bits & -bits)) & bits = 0 AS is_whole,
               block * 32 + bit_count(((bits & -bits) - 1)::bit(64)) AS low, bit_count(bits::bit(64)) AS length
        FROM blocks b
    ), heard AS (
        SELECT source, epoch, max(highest) AS highest, sum(messages)::bigint AS messages,
               min(first_at) AS first_at, max(last_at) AS last_at,
               coalesce(range_agg(int8range(low, low + length)) FILTER (WHERE is_whole), '{}')
               + coalesce(range_agg((
                     SELECT range_agg(int8range(block * 32 + bit, block * 32 + bit + 1))
                     FROM generate_series(0, 31) bit WHERE (bits >> bit & 1) = 1)) FILTER (WHERE NOT is_whole), '{}')
               + coalesce(range_agg(long), '{}') AS received,
               row_number() OVER (PARTITION BY source ORDER BY max(last_at) DESC, epoch DESC) AS n
        FROM parts GROUP BY source, epoch
    ), joined AS MATERIALIZED (
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
        SELECT source, epoch, received,
               size.ranges, floor, stored_below, stored_below + size.count,
               highest, messages, untold, first_at, last_at
        FROM joined, LATERAL (SELECT count(*) AS ranges, sum(upper(r) - lower(r))::bigint AS count
                              FROM unnest(received) r) size
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
