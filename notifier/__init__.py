"""alipayhk-notifier: receives AlipayHK payment notifications."""

__version__ = "0.1.0"
