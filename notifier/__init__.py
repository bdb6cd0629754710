"""alipayhk-notifier: receives AlipayHK payment notifications."""

from importlib.metadata import version

# As it was installed; an editable installation keeps the version that it had then.
__version__ = version("alipayhk-notifier")
