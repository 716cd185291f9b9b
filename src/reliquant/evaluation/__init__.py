"""Run a variant on images: records, and the reasons for what changed."""
