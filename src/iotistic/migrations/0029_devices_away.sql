-- Devices that are away, by when they were seen last: what people look for, and few among many that are here. The list
-- in that order read past everybody who is here before (25,000 rows of presence for a page of one fleet's).
-- Costs nothing while a device is here: its leases do not touch it.
CREATE INDEX device_presence_away_seen ON device_presence (seen_at, device_uuid) WHERE NOT is_online;
