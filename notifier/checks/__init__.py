"""What `notifier check` and `notifier topics` find: what is judged does no I/O, what looks is apart from it."""
