"""What other programs see: evaluation of ASE atoms and the ASE calculator."""
