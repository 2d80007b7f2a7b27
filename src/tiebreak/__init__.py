"""tiebreak: which preference-optimisation method wins, by how much, and is the difference real?"""

__version__ = "0.1.0"
