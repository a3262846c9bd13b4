"""Which of FAISS's factory strings are made here. FAISS itself ends the process at some numbers (`HNSW0`),
divides by zero at others (`PQ4x0`), and fills the memory with others.
"""

import re

from errors import InputError

TRANSFORMS = "OPQ[0-9]+(_[0-9]+)?|PCAR?[0-9]+|RR[0-9]+"
LISTS = "IVF[0-9]+(_HNSW[0-9]+)?"
CODES = "Flat|SQ(4|6|8|fp16)|PQ[0-9]+(x[0-9]+(fs)?)?"
SUPPORTED = re.compile(
    f"(({TRANSFORMS}),)*(({LISTS}),)?({CODES})(,RFlat)?|(({TRANSFORMS}),)*HNSW[0-9]+(,({CODES}))?"
)
NUMBERS = re.compile("(OPQ|PCAR?|RR|IVF|HNSW|PQ|x|_)([0-9]+)")
BOUNDS = {"IVF": (1, 2**22), "HNSW": (2, 512), "x": (1, 12)}  # of others: from 1 to the numbers of a key
LARGEST_DIMENSION = 2**16
KNOWN = (
    "'Flat', 'IVF64,Flat', 'IVF64,PQ16', 'OPQ16,IVF64,PQ16', 'IVF64,SQ8' or 'HNSW32'; docs/retrieval.md has "
    "the others"
)


def require_supported(factory: str, dimension: int = LARGEST_DIMENSION) -> None:
    """Raises InputError where `factory` is neither "auto" nor a factory string of a known form, for keys of
    `dimension` numbers.
    """
    if factory == "auto":
        return
    if not SUPPORTED.fullmatch(factory):
        raise InputError(
            f"The index {factory!r} is not supported: its parts are unknown, or in another order. Use "
            f"'auto', or a FAISS factory string such as {KNOWN}."
        )
    for name, number in NUMBERS.findall(factory):
        least, most = BOUNDS.get(name, (1, dimension))
        # Text first: a number of thousands of digits is no int.
        if len(number) > len(str(most)) or not least <= int(number) <= most:
            raise InputError(
                f"The index {factory!r} has {name}{number[:20]}: give a number from {least} to {most:,}."
            )
