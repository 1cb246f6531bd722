"""How this device becomes known to a cloud, keeps its key fresh, and takes its leave."""
