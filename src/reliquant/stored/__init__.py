"""Tables that other people's programs wrote, embeddings, probabilities, logits or predictions, read as they are."""
