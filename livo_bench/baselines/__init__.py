"""The methods that LiVO is compared with; `methods/` joins them to the protocol."""
