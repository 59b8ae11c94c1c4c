"""``maskwatch models``: list model files, choose a version, convert classifiers of other programs."""

import argparse
import shutil
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from app.cli.arguments import count, number
from app.cli.event_file import add_event_file_options
from app.cli.improve import versions_of
from app.core import resources
from app.core.errors import MaskwatchError, ModelError, OutputError, SettingsError
from app.core.files import atomic_write, output_errors
from app.core.text import local_time
from app.settings.file_edit import edited
from app.settings.flags import config_path
from app.vision.model_format import ModelFormat, convert_advice, model_format
from app.vision.model_metadata import (
    ClassifierMetadata,
    DetectorMetadata,
    kind_of,
    read_classifier_metadata,
    read_detector_metadata,
    write_metadata,
)

TABLES = ("classifier", "detector")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("models", help="list and convert model files")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show the bundled model files, and the versions that improve has made")
    using = actions.add_parser("use", help="put a version that improve has made into the settings file")
    using.add_argument("version", metavar="VERSION", help="its fingerprint or the start of it, or 'bundled'")
    back = actions.add_parser("rollback", help="put back the models that were in use before")
    back.add_argument("table", choices=TABLES, nargs="?", help="only this one")
    for command, run in ((listing, _run_list), (using, _run_use), (back, _run_rollback)):
        add_event_file_options(command)
        command.set_defaults(run=run)
    converting = actions.add_parser(
        "convert",
        help="make a classifier of another program usable",
        description="Writes a .tflite file with metadata from a .tflite, .keras or Keras 2 .h5 file or a SavedModel "
        "folder. Without --labels they are read from a JSON file beside it. All but .tflite need TensorFlow. With "
        "--output FILE.onnx, it writes a .keras file of maskwatch, classifier or detector, for ONNX Runtime.",
    )
    converting.add_argument("model", type=Path, metavar="FILE", help="the model file or folder")
    converting.add_argument(
        "--labels", metavar="L,L", help="labels in the order of the outputs: mask,no_mask,incorrect"
    )
    converting.add_argument(
        "--scaling",
        nargs=2,
        type=number(),
        metavar=("BLACK", "WHITE"),
        help="what the network expects for the pixel values 0 and 255, such as -1 1 (default 0 255)",
    )
    converting.add_argument("--channels", choices=("rgb", "bgr"), help="order of the channels (default rgb)")
    converting.add_argument("--outputs", choices=("probabilities", "logits"), help="default probabilities")
    converting.add_argument(
        "--input-px", type=count, metavar="PX", help="size of the images, if the model takes any size"
    )
    converting.add_argument(
        "--margin", type=number(0), default=0.0, metavar="X", help="crop side = longer box side x (1 + X); default 0"
    )
    converting.add_argument("--output", type=Path, metavar="FILE", help="default: FILE-maskwatch.tflite, beside it")
    converting.set_defaults(run=_run_convert)


def _run_list(args: argparse.Namespace) -> int:
    paths = sorted(
        path for path in resources.root().glob("models/**/*") if path.suffix in (".tflite", ".keras", ".onnx")
    )
    versions = versions_of(args)
    used = _used(args)
    for path in paths:
        print(f"{path}  {_describe(path)}{'  IN USE' if str(path) in used else ''}")
    for version in versions.all():
        path = versions.file(version).absolute()
        is_used = "  IN USE" if str(path) in used else ""
        try:
            kind = kind_of(path)
        except ModelError:  # 'use' says what is wrong
            kind = "DAMAGED"
        print(f"{version.fingerprint}  {kind}  {local_time(version.created_s)}{is_used}  {version.result}")
    return 0


def _own(args: argparse.Namespace, table: str) -> str:
    """The model file in a table of the settings; '' if a bundled one is used."""
    from app.settings.load import load_settings

    model = getattr(load_settings(config_path(args)), table).model
    return "" if model is None else str(model.absolute())


def _used(args: argparse.Namespace) -> set[str]:
    """The model files that the settings choose."""
    from app.settings.load import load_settings
    from app.vision.backend_choice import resolved_classifier, resolved_detector
    from app.vision.classifier import classifier_file
    from app.vision.yunet_detector import detector_file

    settings = load_settings(config_path(args))
    files = [classifier_file(resolved_classifier(settings.classifier))]
    if settings.detector.kind == "cnn":
        files.append(detector_file(resolved_detector(settings.detector)))
    return {str(file.absolute()) for file in files}


def _run_use(args: argparse.Namespace) -> int:
    versions = versions_of(args)
    if args.version == "bundled":
        return max(_put(args, table, "") for table in TABLES)
    version = versions.find(args.version)
    path = versions.file(version).absolute()
    table = kind_of(path)  # reports a damaged file
    used = _own(args, table)
    done = _put(args, table, str(path))
    if used != str(path):
        versions.record(replace(version, replaces=used))
    return done


def _run_rollback(args: argparse.Namespace) -> int:
    versions = versions_of(args)
    found = {
        table: version
        for table in ([args.table] if args.table else TABLES)
        if (used := _own(args, table)) and (version := versions.at(Path(used))) is not None
    }
    if not found:
        raise SettingsError("no model in the settings is a version of 'improve'; see 'maskwatch models list'")
    return max(_put(args, table, version.replaces or "") for table, version in found.items())


def _put(args: argparse.Namespace, name: str, model: str) -> int:
    """Writes the model into the table ``name`` of the settings file; '' is the bundled one."""
    path = config_path(args)
    if path is None:
        raise SettingsError(f"give --config FILE, the settings file to change, or watch with --model {model or 'FILE'}")
    with edited(path) as document:
        if model:
            document.setdefault(name, {})["model"] = model
        elif name in document:
            document[name].pop("model", None)
    print(f"{path}: {name}.model is now {model or 'the bundled one'}; restart maskwatch")
    return 0


def _describe(path: Path) -> str:
    """The metadata of a model file as one line."""
    size = f"{path.stat().st_size / 1e6:.2f} MB"
    for read in (read_classifier_metadata, read_detector_metadata):
        try:
            metadata = read(path)
        except MaskwatchError:
            continue
        return f"{metadata.kind} {metadata.name} {metadata.version}, {size}"
    return f"DAMAGED or not a maskwatch model, {size}; reinstall maskwatch"


def _run_convert(args: argparse.Namespace) -> int:
    from app.settings.vision import ClassifierSettings
    from app.training.export import convert_to_litert
    from app.vision.classifier import load_classifier

    path: Path = args.model
    output: Path = args.output or path.with_name(f"{path.stem}-maskwatch.tflite")
    if output.suffix not in (".tflite", ".onnx") or output.absolute() == path.absolute():
        raise OutputError(f"cannot write {output}: give --output another name that ends in .tflite or .onnx")
    found = model_format(path)
    if output.suffix == ".onnx":
        return _write_onnx(path, found, output)
    if found in (ModelFormat.ONNX, ModelFormat.PYTORCH, ModelFormat.UNKNOWN):
        raise ModelError(f"cannot convert {path} ({found}); {convert_advice(path, found)}")
    metadata = None if args.labels else read_classifier_metadata(path)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "model.tflite")
        part.write_bytes(path.read_bytes() if found is ModelFormat.LITERT else convert_to_litert(path))
        write_metadata(part, metadata or _given_metadata(args, part))
        load_classifier(ClassifierSettings(model=part))  # tests that it runs
        with output_errors(output, "choose another --output"), atomic_write(output) as partial:
            shutil.copyfile(part, partial)
    print(f"written: {output}  {_describe(output)}; use it with --model {output}")
    return 0


def _write_onnx(path: Path, found: ModelFormat, output: Path) -> int:
    """Writes a ``.keras`` file of maskwatch as ONNX."""
    if found is not ModelFormat.KERAS:
        raise ModelError(f"cannot write {path} ({found}) as ONNX; give the .keras file that maskwatch trained")
    from app.training.detector.network import load_detector_network
    from app.training.export import write_model
    from app.vision.classifier import check_tensorflow, load_keras
    from app.vision.tensorflow_import import import_tensorflow

    check_tensorflow("writing an ONNX file")
    if find_spec("onnx") is None:
        raise SettingsError("writing an ONNX file needs onnx: pip install 'maskwatch[train]'")
    import_tensorflow()
    metadata: ClassifierMetadata | DetectorMetadata
    try:
        metadata, load = read_classifier_metadata(path), load_keras
    except ModelError:
        metadata, load = read_detector_metadata(path), load_detector_network
    with output_errors(output, "choose another --output"):
        write_model(load(path), metadata, output)
    print(f"written: {output}  {_describe(output)}; use it with the back end onnx")
    return 0


def _given_metadata(args: argparse.Namespace, network: Path) -> ClassifierMetadata:
    """The metadata from the command line. Raises SettingsError."""
    from pydantic import ValidationError

    from app.vision.classifier import litert_input_px

    given = {name: getattr(args, name) for name in ("scaling", "channels", "outputs") if getattr(args, name)}
    size_px = args.input_px or litert_input_px(network)
    if size_px is None:
        raise SettingsError(f"{args.model} takes images of any size; give --input-px, the size it was trained with")
    labels = [label.strip() for label in args.labels.split(",")]
    try:
        return ClassifierMetadata.model_validate(
            {"name": args.model.stem, "labels": labels, "input_px": size_px, "margin": args.margin, **given}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from error
