"""Every test runs on eight virtual CPU devices and refuses silent rank promotion.

Tests compile hundreds of small programs and run each a few times, so the compiler is told not to polish them.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# The tests themselves are spread over the cores: threads of FAISS beside them would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
