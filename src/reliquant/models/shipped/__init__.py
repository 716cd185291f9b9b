"""The trained checkpoints that the package ships."""
