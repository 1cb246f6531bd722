"""F2 controllers: their sensors, doors and people, their credentials, and fleets of them."""
