"""Text that a chunk and its neighbours share: the longest common run of tokens, and where all runs are.

RETRO measures by it how much of a held-out chunk was seen in training (arXiv 2112.04426, Section 2.6). A run
is contiguous and compared token by token; `text_tokens` makes bos, eos and padding negative, and a negative
token equals nothing, not even itself. Byte pieces are text like any other piece.

Shapes: m tokens of a chunk, k neighbours, r tokens of a neighbour.
"""

from collections.abc import Sequence

import numpy as np

from data.token_store import Chunked

NO_TEXT = -1


def text_tokens(store: Chunked, tokens: np.ndarray) -> np.ndarray:
    """`tokens` int [...] with -1 in the place of what is not text: bos, eos and padding."""
    return np.where(np.isin(tokens, (store.bos_id, store.eos_id, store.pad_id)), NO_TEXT, tokens)


def longest_runs(chunk_m: Sequence[int], neighbours_kr: Sequence[Sequence[int]]) -> list[int]:
    """Tokens of the longest run that the chunk shares with each neighbour: k numbers from 0 to min(m, r).

    Linear in m + k·r: the neighbours are read through the suffix automaton of the chunk.
    """
    transitions, links, lengths = _suffix_automaton(np.asarray(chunk_m).tolist())
    longest = []
    for neighbour in neighbours_kr:
        state = run = best = 0
        for token in np.asarray(neighbour).tolist():
            if token < 0:
                state = run = 0
                continue
            while state and token not in transitions[state]:
                state = links[state]
                run = lengths[state]
            if token in transitions[state]:
                state = transitions[state][token]
                run += 1
                best = max(best, run)
        longest.append(best)
    return longest


def shared_runs(
    chunk_m: Sequence[int], neighbour_r: Sequence[int], minimum: int = 1
) -> list[tuple[int, int, int]]:
    """Every run of at least `minimum` tokens that both hold and that cannot be made longer at either end.

    Returns: (start in the chunk, start in the neighbour, length), in the order of these. Where a text occurs
      twice, so does its run: the runs cover all that is shared on both sides.
    """
    chunk, neighbour = np.asarray(chunk_m), np.asarray(neighbour_r)
    # A border of False, so that a run that begins or ends with its text is bounded like any other.
    same = np.zeros([len(chunk) + 2, len(neighbour) + 2], bool)
    same[1:-1, 1:-1] = (chunk[:, None] == neighbour) & (chunk >= 0)[:, None]
    inside = same[1:-1, 1:-1]
    starts = np.argwhere(inside & ~same[:-2, :-2])
    ends = np.argwhere(inside & ~same[2:, 2:])
    # Along a diagonal starts and ends take turns, so that sorting by diagonals pairs them.
    starts, ends = (
        places[np.lexsort((places[:, 0], places[:, 1] - places[:, 0]))] for places in (starts, ends)
    )
    lengths = ends[:, 0] - starts[:, 0] + 1
    runs = np.column_stack([starts, lengths])[lengths >= minimum]
    return sorted(map(tuple, runs.tolist()))


def _suffix_automaton(tokens: list[int]) -> tuple[list[dict[int, int]], list[int], list[int]]:
    """The smallest automaton that reads exactly the runs of `tokens` (Blumer et al., 1985): under 2m states.

    Returns: by state its transitions, its suffix link (the longest suffix of what it reads that is read by
      another state) and the length of the longest run it reads. State 0 is the start.
    """
    transitions, links, lengths = [{}], [-1], [0]
    last = 0
    for token in tokens:
        new = len(lengths)
        transitions.append({})
        lengths.append(lengths[last] + 1)
        links.append(0)
        state = last
        while state >= 0 and token not in transitions[state]:
            transitions[state][token] = new
            state = links[state]
        if state >= 0:
            links[new] = _state_of_length(transitions, links, lengths, state, token)
        last = new
    return transitions, links, lengths


def _state_of_length(
    transitions: list[dict[int, int]], links: list[int], lengths: list[int], state: int, token: int
) -> int:
    """The state that reads `state`'s longest run and then `token`, and nothing longer; split off where it is
    not there yet.
    """
    target = transitions[state][token]
    if lengths[target] == lengths[state] + 1:
        return target
    split = len(lengths)
    transitions.append(dict(transitions[target]))
    lengths.append(lengths[state] + 1)
    links.append(links[target])
    links[target] = split
    while state >= 0 and transitions[state].get(token) == target:
        transitions[state][token] = split
        state = links[state]
    return split
