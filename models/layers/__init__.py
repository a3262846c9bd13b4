"""Parts that every family shares.

Shape legend: B batch, T length (queries), S length (keys), H heads, K size of one head, D d_model, F
feed-forward width, V vocabulary, N number of distances, L layers.
"""
