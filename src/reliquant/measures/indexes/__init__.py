"""Forms in which a library of embeddings is stored."""
