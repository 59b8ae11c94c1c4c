"""``maskwatch models``: which model files there are, and fetching those that are not ours to ship."""

import argparse
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.errors import MaskwatchError, ModelError, OutputError

_TIMEOUT_S = 30.0
_MOST_BYTES = 64 * 1024 * 1024
"""No model of ours is near it: a server that sends more sends something else."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A file elsewhere that is only believed when its hash fits."""

    name: str
    file_name: str
    url: str
    sha256: str
    about: str


YUNET = RemoteModel(
    name="yunet",
    file_name="yunet_n_320_320.onnx",
    url="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_320_320.onnx",
    sha256="81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
    about="YuNet face detector (Apache-2.0), for --detector yunet",
)

REMOTE_MODELS = (YUNET,)


def model_folder() -> Path:
    """Where fetched models lie: the user's data folder of this system."""
    from platformdirs import user_data_path

    return user_data_path("maskwatch", appauthor=False) / "models"


def fetch(model: RemoteModel, folder: Path, url: str | None = None) -> Path:
    """Downloads ``model`` into ``folder`` unless it is there whole, and returns its path. The file appears under its
    name only when all of it came and its hash fits.

    Raises ModelError where the download fails or is not that file, OutputError where ``folder`` cannot be written.
    """
    target = folder / model.file_name
    try:
        if target.is_file() and file_hash(target) == model.sha256:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=model.file_name + ".", suffix=".part")
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in _download(url or model.url):
                    file.write(chunk)
            found = file_hash(partial)
            if found != model.sha256:
                raise ModelError(
                    f"{url or model.url} is not the expected {model.file_name}: its SHA-256 is {found}, not "
                    f"{model.sha256}; nothing was kept, get the file elsewhere and give it as --detector-model"
                )
            partial.chmod(0o644)  # a temporary file is its owner's alone
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; choose another --folder") from error
    return target


def _download(url: str) -> list[bytes]:
    import httpx

    chunks: list[bytes] = []
    size = 0
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT_S, follow_redirects=True) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                size += len(chunk)
                if size > _MOST_BYTES:
                    raise ModelError(
                        f"{url} sends more than {_MOST_BYTES >> 20} MB; nothing was kept, check the address"
                    )
                chunks.append(chunk)
    except httpx.HTTPStatusError as error:
        raise ModelError(
            f"cannot fetch {url}: the server answers {error.response.status_code}; try again later"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelError(
            f"cannot fetch {url}: {error or type(error).__name__}; check the network and try again"
        ) from error
    return chunks


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("models", help="list model files, or fetch those that are not shipped")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fetching = actions.add_parser("fetch", help="download a model, check its hash, say where it lies")
    fetching.add_argument("name", choices=[model.name for model in REMOTE_MODELS])
    fetching.add_argument("--folder", type=Path, help="where to keep it (default: the user's data folder)")
    fetching.add_argument("--url", help="another server that has the same file; the hash is checked all the same")
    fetching.set_defaults(run=_run_fetch)
    listing = actions.add_parser("list", help="model files at hand and what they say of themselves")
    listing.add_argument("--folder", type=Path, help="where fetched ones are kept")
    listing.set_defaults(run=_run_list)


def _run_fetch(args: argparse.Namespace) -> int:
    model = next(model for model in REMOTE_MODELS if model.name == args.name)
    path = fetch(model, args.folder or model_folder(), args.url)
    print(f"{path}")
    print(f"use it with: --detector {model.name}" + (f" --detector-model '{path}'" if args.folder else ""))
    return 0


def _run_list(args: argparse.Namespace) -> int:
    from app import resources

    folder = args.folder or model_folder()
    shipped = sorted(path for path in resources.root().glob("models/**/*") if path.suffix in (".tflite", ".keras"))
    for path in shipped:
        print(f"{path}  {_described(path)}")
    for model in REMOTE_MODELS:
        path = folder / model.file_name
        print(f"{path}  {_state(model, path)}")
    return 0


def _state(model: RemoteModel, path: Path) -> str:
    """One line on the fetched file."""
    try:
        if not path.is_file():
            return f"not fetched; 'maskwatch models fetch {model.name}' does it"
        if file_hash(path) != model.sha256:
            return f"DAMAGED: its hash is wrong; 'maskwatch models fetch {model.name}' replaces it"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}; check its rights"
    return model.about


def _described(path: Path) -> str:
    """One line of what the file says of itself."""
    from app.vision.modelfile import read_classifier_facts, read_detector_facts

    size = f"{path.stat().st_size / 1e6:.2f} MB"
    for read in (read_classifier_facts, read_detector_facts):
        try:
            facts = read(path)
        except MaskwatchError:
            continue
        return f"{facts.kind} {facts.name} {facts.version}, {size}"
    return f"DAMAGED or no maskwatch model, {size}; reinstall maskwatch"
