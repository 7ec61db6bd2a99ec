"""Names in files that commands speak of before numpy is imported; those of grades are MLIP's."""

GRADE = "MV_grade"
"""Feature, and so entry of ``atoms.info``, with the extrapolation grade of a configuration."""
OFF_GRID = "off_grid"
"""Entry of ``atoms.info`` of a frame that is not one of those at equal distances in time."""
ATOM_GRADES = "nbh_grades"
"""Column, and so array, with the grades of atoms."""
