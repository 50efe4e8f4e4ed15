"""Pages and pictures of any project's runs. They are not outputs, so an edit here changes no result."""
