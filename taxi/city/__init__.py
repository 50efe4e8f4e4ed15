"""The embedded sample: a made-up city's trips in TLC's format."""
