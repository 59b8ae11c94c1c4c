"""Training of the shipped classifier: pools of faces in, the small three-class network out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from app.domain import Label
from app.train.fit import EpochRecord, Fitted, Trainer, begin_run
from app.train.networks import KerasModel, Recipe, ShippedNetwork, build_shipped, built
from app.train.pool import Face, central_crops
from app.train.wild import WildBatches, WildSettings

SHIPPED_RECIPE = Recipe(
    epochs=75,
    batch=128,
    optimizer="adamw",
    learning_rate=3e-3,
    cosine=True,
    warmup_epochs=2.0,
    weight_decay=0.03,
    label_smoothing=0.05,
    ema=0.995,
    precision="float32",
)


@dataclass(frozen=True, slots=True)
class ShippedRun:
    """What to train and where to keep it."""

    folder: Path
    labels: tuple[Label, ...]
    network: ShippedNetwork = field(default_factory=ShippedNetwork)
    recipe: Recipe = SHIPPED_RECIPE
    wild: WildSettings = field(default_factory=WildSettings)
    deadline_s: float = math.inf


def train_shipped(
    run: ShippedRun,
    train: Sequence[Face],
    dev: Sequence[Face],
    on_step: Callable[[int, int, float], None],
    on_epoch: Callable[[EpochRecord, KerasModel], None],
    begin_with: KerasModel | None = None,
) -> Fitted:
    """Trains, or goes on training; the model returned computes in float32. ``begin_with`` gives the first weights of
    a fine-tuning; its network must be ``run.network``."""
    network = replace(run.network, classes=len(run.labels))
    begin_run(
        run.folder,
        {
            "network": asdict(network),
            "recipe": asdict(run.recipe),
            "augmentation": asdict(run.wild),
            "labels": [label.value for label in run.labels],
            "faces": {"train": len(train), "dev": len(dev)},
        },
    )
    model = built(lambda: build_shipped(network), run.recipe.precision, run.recipe.seed)
    if begin_with is not None:
        model.set_weights(begin_with.get_weights())
    trainer = Trainer(
        model,
        run.recipe,
        WildBatches(train, run.labels, run.wild),
        central_crops(dev, run.labels, network.input_px, run.wild.margin),
        run.folder,
        run.deadline_s,
        on_step,
        on_epoch,
    )
    fitted = trainer.run()
    exact = built(lambda: build_shipped(network))
    exact.set_weights(fitted.model.get_weights())
    return replace(fitted, model=exact)
