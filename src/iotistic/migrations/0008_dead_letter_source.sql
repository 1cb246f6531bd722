-- Where a dead letter stands in Kafka (topic/partition/offset). Records are read again after a crash; the
-- letter that one becomes must be one letter. Letters of the direct path have no such place.
ALTER TABLE dead_letters ADD COLUMN source text;
CREATE UNIQUE INDEX dead_letters_source ON dead_letters (source) WHERE source IS NOT NULL;
