"""The internal listener: orders, health and metrics, for those inside (contract, section 5). Never public."""
