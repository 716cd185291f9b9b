"""A config checked, expanded into variants and jobs, and placed on disk; free of torch."""
