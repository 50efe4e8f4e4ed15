"""One module an entry point of MLproject, and what they share."""
