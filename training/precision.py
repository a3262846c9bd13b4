"""In which precision a model computes: a policy outside the modules, which know nothing of it.

Parameters and optimiser state are float32. A policy casts a copy of the parameters for the forward and
backward pass, and activations follow, since a module computes in the precision of what it is given. Norms,
softmaxes and the loss go through float32 inside the modules under every policy (Gopher, appendix C). The
gradient arrives in float32, because the cast is part of what is differentiated.
"""

from collections.abc import Mapping
from typing import TypeVar

import jmp

from errors import InputError

Tree = TypeVar("Tree")

POLICIES: Mapping[str, str] = {
    "float32": "params=float32,compute=float32,output=float32",
    "mixed": "params=float32,compute=bfloat16,output=float32",
}


def cast_for_compute(params: Tree, policy: str) -> Tree:
    """`params` as the model computes with them under `policy`; integer leaves stay as they are.

    Raises:
        InputError: no such policy.
    """
    if policy not in POLICIES:
        raise InputError(f"There is no precision {policy!r}; choose one of {', '.join(POLICIES)}.")
    return jmp.get_policy(POLICIES[policy]).cast_to_compute(params)
