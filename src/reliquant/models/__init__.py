"""Open, feed and pretrain a CLIP-like model."""
