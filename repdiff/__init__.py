"""The tool: data sets, diffusion models, metrics and the command line."""

__version__ = "0.1.0"
