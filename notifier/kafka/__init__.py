"""Kafka, through aiokafka: the one place where that library's types are seen."""
