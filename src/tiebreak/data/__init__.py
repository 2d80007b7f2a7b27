"""Data: read rows, check them, turn them into token ids, and look at the result before training."""
