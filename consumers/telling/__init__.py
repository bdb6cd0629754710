"""The parts of fan-out: what one partition of it does, and what its process shares (design, section 6)."""
