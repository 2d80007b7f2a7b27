"""What a run leaves: its record (the truth), and the mirror of it in W&B."""
