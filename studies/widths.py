"""The same form at another width."""

import dataclasses
from typing import Any


def narrowed(config: Any, width: float) -> Any:
    """`config` with every width multiplied: of the stream, the feed-forward layer, heads, and the encoder;
    depth and the number of heads stay.
    """
    if config.retrieves:
        fields = ("encoder_d_model", "encoder_d_ff", "encoder_head_size")
        decoder = narrowed(config.decoder, width)
        return dataclasses.replace(config, decoder=decoder, **_scaled(config, fields, width))
    return dataclasses.replace(config, **_scaled(config, ("d_model", "d_ff", "head_size"), width))


def _scaled(config: Any, fields: tuple[str, ...], width: float) -> dict[str, int]:
    """Even, for rotary positions and sinusoids pair what they turn."""
    return {name: 2 * round(getattr(config, name) * width / 2) for name in fields}
