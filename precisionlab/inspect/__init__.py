"""A trained model seen from inside: what it is, exactly, and what can be proved of it."""
