"""The potential: plain functions over arrays, without files, ASE or padding policy."""
