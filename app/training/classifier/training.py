"""Training of classifiers, and of the shipped one: a small network with three classes, on pooled faces."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Label
from app.training.classifier.augmentation import AugmentedBatches, ClassifierAugmentation
from app.training.data.crops import Crops
from app.training.data.face_pool import PooledFace, central_crops
from app.training.networks import LARGE_MARGIN, ShippedNetwork, build_shipped, built, shipped_network_of
from app.training.trainer import Fitted, Trainer, begin_run
from app.training.types import Batches, EpochRecord, KerasModel, Recipe
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata

SHIPPED_RECIPE = Recipe(
    epochs=75,
    batch=128,
    optimizer="adamw",
    learning_rate=3e-3,
    cosine=True,
    warmup_epochs=2.0,
    weight_decay=0.03,
    label_smoothing=0.05,
    ema=0.99875,
    precision="float32",
)

OPEN_NETWORK, OPEN_EPOCHS = ShippedNetwork(input_px=80), 24
OPEN_AUGMENTATION = ClassifierAugmentation(
    input_px=OPEN_NETWORK.input_px,
    margin=LARGE_MARGIN,
    class_shares=(0.36, 0.40, 0.24),
    boosts=(("faces12k", 0.8), ("office", 0.5)),
    synthetic_shares=(0.15, 0.0, 0.45),
    swap_shares=(0.4, 0.5, 0.4),
    held_share=0.2,
    nothing_share=0.08,
    min_px=20,
    scale=(0.8, 1.25),
)
"""For data with a few hundred bare faces: they are often drawn with the eyes and surroundings of masked ones."""


class ClassifierTask:
    """Training of a classifier on ``batches``, evaluated on the crops of ``development``."""

    def __init__(self, model: KerasModel, recipe: Recipe, batches: Batches, development: Crops) -> None:
        import keras

        optimizers = {
            "adam": lambda: keras.optimizers.Adam(recipe.learning_rate),
            "sgd": lambda: keras.optimizers.SGD(recipe.learning_rate),
            "adamw": lambda: keras.optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay),
        }
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
        # XLA's CPU convolutions were twelve times slower than oneDNN's
        model.compile(optimizers[recipe.optimizer](), loss, metrics=["accuracy"], jit_compile=False)
        model.optimizer.build(model.trainable_variables)
        self.model, self.optimizer = model, model.optimizer
        self._batches, self._development = batches, development

    @property
    def steps(self) -> int:
        return self._batches.steps

    def batches(self, epoch: int, progress: float) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:  # noqa: ARG002 - the protocol's signature
        return self._batches.epoch(epoch)

    def train_step(self, batch: tuple[NDArray[np.uint8], NDArray[np.float32]]) -> dict[str, float]:
        loss, accuracy = self.model.train_on_batch(*batch)
        return {"loss": float(loss), "accuracy": float(accuracy)}

    def evaluate(self) -> dict[str, float]:
        images, targets = self._development.images, self._development.one_hot()
        loss, accuracy = self.model.evaluate(images, targets, batch_size=64, verbose=0)
        return {"loss": float(loss), "accuracy": float(accuracy)}


@dataclass(frozen=True, slots=True)
class ShippedRun:
    """The settings of one training run, and its folder."""

    folder: Path
    labels: tuple[Label, ...]
    network: ShippedNetwork = field(default_factory=ShippedNetwork)
    recipe: Recipe = SHIPPED_RECIPE
    augmentation: ClassifierAugmentation = field(default_factory=ClassifierAugmentation)


def train_shipped(
    run: ShippedRun,
    train: Sequence[PooledFace],
    dev: Sequence[PooledFace],
    on_step: Callable[[int, int, float], None],
    on_epoch: Callable[[EpochRecord], None],
    begin_with: KerasModel | None = None,
) -> Fitted:
    """Trains, or resumes training. ``begin_with`` gives the first weights for
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
    batches = AugmentedBatches(train, run.labels, run.augmentation)
    development = central_crops(dev, run.labels, network.input_px, run.augmentation.margin)
    task = ClassifierTask(model, run.recipe, batches, development)
    return Trainer(task, run.recipe, run.folder, on_step=on_step, on_epoch=on_epoch).run()


@dataclass(frozen=True, slots=True)
class FirstNetwork:
    """A trained network to begin with, its parameters, and the metadata of its file."""

    model: KerasModel
    network: ShippedNetwork
    metadata: ClassifierMetadata


def load_first_network(path: Path | None) -> FirstNetwork:
    """The network to fine-tune. Raises ModelError if it cannot be used."""
    import keras

    path = path or resources.model("classifier.keras")
    if path.suffix != ".keras":
        raise ModelError(f"{path} cannot be fine-tuned: only a .keras file can; give that of the same run")
    metadata = read_classifier_metadata(path)
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise ModelError(f"{path} cannot be fine-tuned: {str(error).splitlines()[0]}; use --from-scratch") from error
    network = shipped_network_of(model)
    if network is None or network.classes != len(metadata.labels):
        raise ModelError(f"{path} cannot be fine-tuned: its network is not the shipped one; use --from-scratch")
    return FirstNetwork(model, network, metadata)
