"""From records to tables: reads `runs/`, averages over seeds, writes text. Imports no torch."""
