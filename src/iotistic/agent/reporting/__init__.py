"""What a device tells its cloud of itself: whole once, afterwards what has changed."""
