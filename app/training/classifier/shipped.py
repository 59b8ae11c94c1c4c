"""Training of the shipped classifier, a small network with three classes, on pooled faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Label
from app.training.data.face_pool import (
    PooledFace,
    central_crops,
)
from app.training.networks import KerasModel
from app.training.trainer import EpochRecord, Fitted, begin_run
from app.vision.model_metadata import read_classifier_metadata

if TYPE_CHECKING:
    from app.training.classifier.augmentation import ClassifierAugmentation

import math
from collections.abc import Callable
from dataclasses import asdict, field

from app.training.classifier.augmentation import AugmentedBatches, ClassifierAugmentation
from app.training.networks import Recipe, ShippedNetwork, build_shipped, built
from app.training.trainer import Trainer

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
    """The settings of one training run, and its folder."""

    folder: Path
    labels: tuple[Label, ...]
    network: ShippedNetwork = field(default_factory=ShippedNetwork)
    recipe: Recipe = SHIPPED_RECIPE
    augmentation: ClassifierAugmentation = field(default_factory=ClassifierAugmentation)
    deadline_s: float = math.inf


def train_shipped(
    run: ShippedRun,
    train: Sequence[PooledFace],
    dev: Sequence[PooledFace],
    on_step: Callable[[int, int, float], None],
    on_epoch: Callable[[EpochRecord, KerasModel], None],
    begin_with: KerasModel | None = None,
) -> Fitted:
    """Trains, or resumes training. The returned model computes in float32. ``begin_with`` gives the first weights for
    fine-tuning; its network must be ``run.network``."""
    network = replace(run.network, classes=len(run.labels))
    begin_run(
        run.folder,
        {
            "network": asdict(network),
            "recipe": asdict(run.recipe),
            "augmentation": asdict(run.augmentation),
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
        AugmentedBatches(train, run.labels, run.augmentation),
        central_crops(dev, run.labels, network.input_px, run.augmentation.margin),
        run.folder,
        run.deadline_s,
        on_step,
        on_epoch,
    )
    fitted = trainer.run()
    exact = built(lambda: build_shipped(network))
    exact.set_weights(fitted.model.get_weights())
    return replace(fitted, model=exact)


def load_first_network(path: Path | None) -> tuple[KerasModel, tuple[Label, ...]]:
    """The network to fine-tune and its labels. Raises ModelError if it cannot be used."""
    import keras

    from app.training.networks import ShippedNetwork, build_shipped

    path = path or resources.model("classifier.keras")
    metadata = read_classifier_metadata(path)
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise ModelError(f"{path} cannot be fine-tuned: {str(error).splitlines()[0]}; use --from-scratch") from error
    ours = build_shipped(replace(ShippedNetwork(), classes=len(metadata.labels)))
    if [weights.shape for weights in model.get_weights()] != [weights.shape for weights in ours.get_weights()]:
        raise ModelError(f"{path} cannot be fine-tuned: its network is not the shipped one; use --from-scratch")
    return model, metadata.labels
