"""What a quantized model is made of, how it is saved, and the proof of what ran quantized."""
