"""How devices catch up after an outage without hurting live readings: who may send how much, and when."""
