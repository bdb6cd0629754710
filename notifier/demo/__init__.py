"""
A small world around the real pipeline: a simulated AlipayHK on one side, merchants on the other (`notifier demo`).

Kafka, Redis and the three processes of the pipeline are the real ones, started as anybody would start them. What must hold is
counted from outside: from what AlipayHK was answered, what lies in the topics, and what the merchants received.
"""
