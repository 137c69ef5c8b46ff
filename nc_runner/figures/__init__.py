"""The gallery: run folders in, pictures and tables out. Imports no torch."""
