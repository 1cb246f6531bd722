"""An engine without containers: for machines that have none, for fleets of agents, and for tests of guarantees."""
