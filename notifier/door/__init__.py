"""The public door: HTTP under limits of our own, and what comes of a notification (design, section 4)."""
