"""Losses over a batch of embeddings, and the miners that choose its triplets."""
