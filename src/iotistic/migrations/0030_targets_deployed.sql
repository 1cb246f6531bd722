-- Which targets were deployed within some minutes, for reminders.
CREATE INDEX device_targets_deployed ON device_targets (deployed_at);
