"""The version of the engine. It is part of every key."""

# Raise it when a change of provenance/ or runtime/ alters what a step writes: the layout of an output, how it is
# digested, how trials are taken up. Steps then run once more everywhere. A change of messages, locks, retries, pages or
# speed alters nothing that is written. `make test` fails when outputs moved and this number did not.
ENGINE_VERSION = 1
