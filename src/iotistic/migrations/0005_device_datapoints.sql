-- Which datapoints a device has ever shown. Templates are shared, so a template's list is what a device
-- could show; this is what it does show, and what lists and latest values start from. Written when a
-- series is resolved for the first time, never on the path of a reading.
CREATE TABLE device_datapoints (
    device_id    integer NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    datapoint_id integer NOT NULL REFERENCES datapoints (id) ON DELETE CASCADE,
    first_seen   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, datapoint_id)
);
CREATE INDEX device_datapoints_datapoint ON device_datapoints (datapoint_id);
