"""What people look at of any project's runs: pictures of a search. Nothing here is an output."""
