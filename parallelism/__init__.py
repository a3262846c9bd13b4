"""Where it is computed: the mesh, the table of sharding rules, and one file per strategy.

A strategy turns (objective, optimiser, mesh) into `init`, `step` and `evaluate`. It serves any model: all it
knows of one are the logical axis names in `models.layers.axes` and the paths of its parameters.
"""
