"""The catalogue of methods for readers: cards on the command line, pages with plots in docs."""
