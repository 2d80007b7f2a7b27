"""Programs for `evaluation.generator.command`: run by the Python of another environment, so that
they import nothing of tiebreak; a folder because `{scripts}` in a command stands for it."""
