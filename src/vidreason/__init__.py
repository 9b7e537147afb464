"""vidreason: the R1 recipe for small video models as one reproducible pipeline."""

__version__ = "0.1.0"
