"""What those who watch are given: the catalogue of lines, the runbook, traces, and what tells of silence."""
