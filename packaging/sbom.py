"""Writes the bill of materials of a build as CycloneDX 1.6 JSON."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from notices import sha256
from packageurl import PackageURL

_TYPES = {
    "python": ComponentType.LIBRARY,
    "system": ComponentType.LIBRARY,
    "runtime": ComponentType.PLATFORM,
    "asset": ComponentType.DATA,
}
_PURL_TYPES = {"python": "pypi", "system": "deb", "runtime": "generic"}


def _hash(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _distribution() -> str:
    """The Linux distribution for the package URLs of system libraries, for example debian or ubuntu."""
    try:
        return platform.freedesktop_os_release()["ID"]
    except (OSError, AttributeError):  # not Linux
        return "debian"


def _component(record: Mapping[str, Any], folders: Sequence[Path]) -> Component:
    name, version, kind = record["name"], record["version"], record["kind"]
    purl = None
    if kind in _PURL_TYPES and version:
        namespace = _distribution() if kind == "system" else None
        lowered = name.lower().replace("_", "-").replace(" ", "-")
        purl = PackageURL(_PURL_TYPES[kind], namespace, lowered, version)
    component = Component(
        name=name,
        version=version or None,
        type=_TYPES[kind],
        bom_ref=f"{kind}:{name}",
        purl=purl,
        licenses=[DisjunctiveLicense(name=record["licence"])],
        properties=[Property(name="maskwatch:size_bytes", value=str(record["size_bytes"]))],
    )
    component.components.update(_native_files(record["sha256"], folders, component.bom_ref.value or ""))
    return component


def _native_files(packed: Mapping[str, str], folders: Sequence[Path], parent: str) -> list[Component]:
    """The shared libraries of a component with their hashes, which scanners search. The hash is that of the file in
    the build's folder (macOS signs it there); for a one-file build it is the ``packed`` one."""
    files = []
    for name, digest in sorted(packed.items()):
        path = next((path for folder in folders for path in (folder / name,) if path.is_file()), None)
        hashes = [_hash(digest if path is None else sha256(path))]
        files.append(Component(name=name, type=ComponentType.FILE, bom_ref=f"{parent}/{name}", hashes=hashes))
    return files


def _models(folder: Path) -> list[Component]:
    return [
        Component(
            name=path.relative_to(folder.parent).as_posix(),
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"model:{path.relative_to(folder).as_posix()}",
            hashes=[_hash(sha256(path))],
        )
        for path in sorted(folder.rglob("*.tflite"))
    ]


def render(
    components: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any], built: Sequence[Path], models: Path
) -> str:
    """JSON text. Serial number and time are derived from the build, so that the same build gives the same bill."""
    folders = [folder for path in built for folder in (path / "_internal", path / "Contents" / "Frameworks", path)]
    product = Component(
        name="maskwatch",
        version=metadata["version"],
        type=ComponentType.APPLICATION,
        bom_ref="maskwatch",
        licenses=[DisjunctiveLicense(id="MIT")],
        properties=[
            Property(name=f"maskwatch:{key}", value=str(metadata[key])) for key in ("commit", "system", "form")
        ],
    )
    parts = [*(_component(record, folders) for record in components), *_models(models)]
    bom = Bom(components=parts, serial_number=uuid5(NAMESPACE_URL, f"maskwatch {sorted(metadata.items())}"))
    bom.metadata.component = product
    bom.metadata.timestamp = datetime.fromisoformat(metadata["built"]).astimezone(UTC)
    bom.register_dependency(product, parts)
    return JsonV1Dot6(bom).output_as_string(indent=1)
