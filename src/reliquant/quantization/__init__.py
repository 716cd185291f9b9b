"""How a model becomes quantized."""
