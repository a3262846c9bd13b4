"""Every test runs on eight virtual CPU devices and refuses silent rank promotion."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import jax
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
