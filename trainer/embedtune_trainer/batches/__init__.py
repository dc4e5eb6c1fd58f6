"""Which rows go together: hold-out, batches, parts of a batch."""
