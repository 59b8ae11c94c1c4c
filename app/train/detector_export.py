"""From a trained detector to the files that the monitor runs, each carrying its facts."""

from pathlib import Path

from app.errors import OutputError
from app.train.export import litert_bytes
from app.train.networks import KerasModel
from app.vision.modelfile import DetectorFacts, write_facts


def export_detector(model: KerasModel, facts: DetectorFacts, stem: Path) -> tuple[Path, Path]:
    """Writes ``stem.keras`` and ``stem.tflite`` (float32, any input size). Raises OutputError where it cannot."""
    keras_path, litert_path = stem.with_suffix(".keras"), stem.with_suffix(".tflite")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        partial = keras_path.with_name("part-" + keras_path.name)
        model.save(partial, include_optimizer=False)
        write_facts(partial, facts)
        partial.replace(keras_path)
        partial = litert_path.with_name("part-" + litert_path.name)
        partial.write_bytes(litert_bytes(model))
        write_facts(partial, facts)
        partial.replace(litert_path)
    except OSError as error:
        raise OutputError(f"cannot write {stem}.*: {error.strerror}; choose another place") from error
    return keras_path, litert_path
