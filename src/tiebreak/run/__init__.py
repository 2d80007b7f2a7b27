"""One run done: its stages in order, its record, its processes."""
