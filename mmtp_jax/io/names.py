"""Names in files that commands speak of before numpy is imported; all are MLIP's."""

GRADE = "MV_grade"
"""Feature, and so entry of ``atoms.info``, with the extrapolation grade of a configuration."""
ATOM_GRADES = "nbh_grades"
"""Column, and so array, with the grades of atoms."""
