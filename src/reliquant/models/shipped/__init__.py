"""The lab's trained models: the table that vouches for them, and what reads them."""
