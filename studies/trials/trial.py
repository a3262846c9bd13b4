"""A trial: one model trained from one seed and evaluated, in a folder of its own.

`config.json` says what the trial is and guards the folder; `data.json` names the artifacts that it was made
from; `metrics.jsonl` and `checkpoints/` are the loop's; `evaluation-*.npy` hold the loss of every held-out
token. A trial that is finished is never run again.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import optax

from models.families import FAMILIES, family_of
from training.precision import STOCHASTIC
from training.recipes import learning_rate, recipe

LATER = ("clip", "decay", "evaluation_batch", "start")  # fields that trials of before lack


@dataclass(frozen=True)
class Trial:
    """What is trained on what.

    name: what is shown. config: the model's. neighbours: the table's artifact name, so that its content
    guards the folder. pretrained: the fingerprint of the parameters that a RETRO's decoder is given and
    keeps, so that only what retrieval adds is trained (RETROfit); None where everything is. recipe: the
    name in training.recipes of what trains it, peak: its largest learning rate, z_loss: the coefficient
    of log²Z; None for the family's own. evaluate_at: steps before the last at which it is evaluated too.
    neighbours_across_documents: whether the first chunk of a document reads, in training, the neighbours of
    the chunk of another document that stands before it in the row (retrieval.neighbours.batches). clip,
    decay: as in training.recipes. evaluation_batch: sequences of a batch of evaluation, None for batch_size.
    start: the fingerprint of the parameters that all training starts from, None for initial ones.
    """

    name: str
    config: Any
    seed: int
    steps: int
    batch_size: int
    length: int
    precision: str
    evaluation_tokens: int
    neighbours: str
    pretrained: str | None = None
    recipe: str | None = None
    peak: float | None = None
    z_loss: float | None = None
    evaluate_at: tuple[int, ...] = ()
    neighbours_across_documents: bool = False
    clip: float | None = None
    decay: float | None = None
    evaluation_batch: int | None = None
    start: str | None = None

    @property
    def with_its_recipe(self) -> Self:
        """As it is trained: a recipe is named where it is another family's, and brings that one's z-loss.
        Trials of before with such a recipe and no z-loss had the model's, and are read so.
        """
        own = family_of(self.config)
        if self.recipe in (None, own.recipe):
            return dataclasses.replace(self, recipe=None)
        other = next(family for family in FAMILIES.values() if family.recipe == self.recipe)
        if self.z_loss is not None or other.z_loss == own.z_loss:
            return self
        return dataclasses.replace(self, z_loss=other.z_loss)

    @property
    def recorded(self) -> dict[str, Any]:
        """What its folder says of it, and is named by. Trials from before `neighbours_across_documents` read
        across, and say nothing of it: whatever is the same as they are says as little, and is found again; so
        with the fields of LATER.
        Those from before the noise of rounding followed the seed are not, since they would go on otherwise.
        """
        fields = dataclasses.asdict(self)
        if self.neighbours_across_documents or not self.retrieves:
            del fields["neighbours_across_documents"]
        for later in LATER:
            if fields[later] is None:
                del fields[later]
        return fields | ({"rounding": "of its seed"} if self.precision == STOCHASTIC else {})

    @property
    def retrieves(self) -> bool:
        return self.config.retrieves

    @property
    def retrievals(self) -> tuple[str | None, ...]:
        """The values of `retrieval` that its rows carry."""
        return ("off", "on") if self.retrieves else (None,)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """What trains it, by its recipe."""
        return recipe(self._recipe, self.steps, self.peak, self.clip, self.decay)

    @property
    def learning_rate(self) -> optax.Schedule:
        """From the number of updates already made."""
        return learning_rate(self._recipe, self.steps, self.peak, self.decay)

    @property
    def _recipe(self) -> str:
        return self.recipe or family_of(self.config).recipe


@dataclass(frozen=True)
class TrialResult:
    """nats: by retrieval, float32 [S, T] per held-out token. metrics: the loop's lines. nats_at: the same as
    nats, by each step of `Trial.evaluate_at`. train_tokens: those that were predicted; batches hold more,
    which is what train_flops and a table of rows count (studies.records).
    """

    nats: dict[str | None, np.ndarray]
    metrics: list[dict]
    train_tokens: int
    train_flops: float
    nats_at: dict[int, dict[str | None, np.ndarray]] = field(default_factory=dict)
