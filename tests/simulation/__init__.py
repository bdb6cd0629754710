"""The whole pipeline in one seeded event loop: see README.md here."""
