"""Those who are not ours: AlipayHK, somebody who forges its messages, and the merchants' systems."""
