"""The methods as people read them: cards, pages, plots."""
