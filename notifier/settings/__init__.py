"""The parts of the settings. `notifier.config` is their front."""
