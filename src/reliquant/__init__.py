"""reliability under quantization: how far can a vision-language model be quantized before it stops being trustworthy?"""

__version__ = "0.1.0"
