"""Judges of answers: an endpoint, a model on this machine, or the controlled world's own reward."""
