"""How the papers trained each of their sizes, and what that says of a size between them.

Peak learning rates and batches: Gopher table 1, PaLM table 1 (the batch at the start of training), RETRO
section 4 and table 2 ("batch 256", 7.5B 1024). PaLM names one peak for all sizes. Sequences are 2,048 tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LENGTH = 2048


@dataclass(frozen=True)
class Published:
    """parameters: as the size is named. peak: the largest learning rate. batch_tokens: in a step. clip: of
    the gradient's global norm.
    """

    parameters: float
    peak: float
    batch_tokens: int
    clip: float = 1.0


PUBLISHED: Mapping[str, Mapping[str, Published]] = {
    "palm": {
        "8b": Published(8.63e9, 1e-2, 256 * LENGTH),
        "62b": Published(62.5e9, 1e-2, 512 * LENGTH),
        "540b": Published(540.35e9, 1e-2, 512 * LENGTH),
    },
    "gopher": {
        "44m": Published(44e6, 6e-4, 128 * LENGTH),
        "117m": Published(117e6, 6e-4, 128 * LENGTH),
        "417m": Published(417e6, 2e-4, 128 * LENGTH),
        "1.4b": Published(1.4e9, 2e-4, 128 * LENGTH),
        "7.1b": Published(7.1e9, 1.2e-4, 1024 * LENGTH, clip=0.25),
        "280b": Published(280e9, 4e-5, 1536 * LENGTH, clip=0.25),
    },
    "retro": {
        "172m": Published(172e6, 2e-4, 256 * LENGTH),
        "425m": Published(425e6, 2e-4, 256 * LENGTH),
        "1.5b": Published(1.5e9, 2e-4, 256 * LENGTH),
        "7.5b": Published(7.5e9, 1e-4, 1024 * LENGTH),
    },
}


def published(family: str, size: str, parameters: int) -> Published:
    """How the paper of `family` trained `size`, or would have trained one of so many parameters.

    Between the published sizes, and beyond them, the peak lies on the straight line through theirs that has
    the least squares in log peak over log parameters; batch and clip are those of the nearest size. RETRO's
    `172m-copying` is trained as `172m`.
    """
    sizes = PUBLISHED[family]
    size = size.removesuffix("-copying")
    if size in sizes:
        return sizes[size]
    x, y = (np.log([getattr(one, name) for one in sizes.values()]) for name in ("parameters", "peak"))
    slope, intercept = np.polyfit(x, y, 1)
    nearest = min(sizes.values(), key=lambda one: abs(np.log(one.parameters / parameters)))
    peak = float(np.exp(intercept + slope * np.log(parameters)))
    return Published(parameters, peak, nearest.batch_tokens, nearest.clip)
