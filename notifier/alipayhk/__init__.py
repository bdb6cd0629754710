"""AlipayHK's wire: bytes in, statements out. Pure, one file per idea; its words end here."""
