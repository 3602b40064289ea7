"""Histories: their events, in Temporal's vocabulary, and what is made of them."""
