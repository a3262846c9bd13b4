"""Speed, side by side with peers and with the machine's ceiling: `make bench`."""
