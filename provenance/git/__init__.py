"""The code's repository: commits, patches, remotes."""
