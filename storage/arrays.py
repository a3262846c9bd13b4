"""Arrays in `.npy` files."""

import tokenize
from pathlib import Path

import numpy as np

from storage.files import no_link


def read_array(path: Path, mapped: bool = False) -> np.ndarray:
    """The array in a file. mapped: it stays on disk.

    Raises:
        OSError: it is missing, or no file. ValueError: it is damaged, whatever numpy stumbles over.
    """
    try:
        array = np.load(no_link(path), mmap_mode="r" if mapped else None, allow_pickle=False)
    except (EOFError, SyntaxError, TypeError, tokenize.TokenError, MemoryError, OverflowError) as error:
        raise ValueError(f"it is no array ({error})") from error
    if not isinstance(array, np.ndarray):  # but an archive of some
        raise ValueError("it is no array")
    return array
