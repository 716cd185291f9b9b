"""Reliability under quantization: how far can a vision-language model be quantized before it cannot be trusted?"""

__version__ = "0.1.0"
