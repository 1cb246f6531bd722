"""Tags of devices, and definitions that they keep to: model, repository, service, schemas, routes."""
