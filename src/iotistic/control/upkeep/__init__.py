"""Background work as one list that people can see and drive."""
