"""Real faults, in the middle of the work of the whole product: separate processes, a Kafka and a Redis of their own."""
