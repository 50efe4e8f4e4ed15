"""Where months come from: folders, TLC's site, buckets."""
