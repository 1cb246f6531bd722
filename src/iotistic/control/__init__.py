"""The cloud side: what owns fleets, their devices, and the people who look after them."""
