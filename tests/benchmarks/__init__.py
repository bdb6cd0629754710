"""What the work costs: ratios against the bare libraries, taken side by side in one run (`make bench`)."""
