"""What may be done about labels of different making; no command needs numpy to speak of it."""

RULES = ("refuse", "shift", "ignore")
"""``"shift"``: fit a constant of the energy for each making and species."""
