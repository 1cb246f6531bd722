"""What happens to stored readings afterwards: rollups, partitions, retention."""
