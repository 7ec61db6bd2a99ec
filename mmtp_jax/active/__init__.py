"""Active learning: rows dE/dtheta, maxvol, the active set and its grade, selection."""
