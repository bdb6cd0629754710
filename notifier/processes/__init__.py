"""Processes: how they listen, start, are kept, read their settings again, and end."""
