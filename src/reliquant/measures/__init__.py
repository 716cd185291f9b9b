"""Arrays and records in, numbers with intervals out; free of torch."""
