"""The installed OpenCV packages. Each of them owns the folder ``cv2``: a second one overwrites the files of the first,
and removing it leaves parts of both."""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires

OURS = "opencv-python"
_PACKAGE = re.compile(r"opencv[-_](contrib[-_])?python", re.IGNORECASE)

_MISSING_LIBRARY = re.compile(r"\b(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
_DEBIAN_PACKAGES = {
    "libGL.": "libgl1",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
    "libEGL": "libegl1",
    "libSM": "libsm6",
    "libICE": "libice6",
    "libXext": "libxext6",
    "libXrender": "libxrender1",
    "libX11": "libx11-6",
}


@dataclass(frozen=True, slots=True)
class OpenCvState:
    """What ``import cv2`` gives: ``version`` is '' and ``fault`` the reason if it cannot be used."""

    version: str
    has_windows: bool
    fault: str


def opencv_packages() -> dict[str, str]:
    """The version of each installed package that contains ``cv2``, by name."""
    found = [each for each in distributions() if _PACKAGE.match(each.name or "")]
    return dict(sorted((each.name.lower().replace("_", "-"), each.version) for each in found))


def opencv_state() -> OpenCvState:
    try:
        import cv2

        version, framework = cv2.__version__, cv2.currentUIFramework()
        cv2.VideoCapture, cv2.resize  # noqa: B018 - raises AttributeError for a folder that is left of a removed package
    except (ImportError, AttributeError) as error:
        return OpenCvState("", False, f"cv2 cannot be used: {error}")
    ours = opencv_packages().get(OURS)
    fault = ""
    if ours is not None and not ours.startswith(version):
        fault = f"cv2 is of version {version}"
    elif ours is not None and not framework:
        fault = "cv2 opens no window"
    return OpenCvState(version, bool(framework), fault)


def missing_library_advice(error: object) -> str:
    """How to install the system library that OpenCV does not find, as minimal Linux servers lack some; '' if none is
    missing."""
    match = _MISSING_LIBRARY.search(str(error))
    if match is None:
        return ""
    package = next((package for name, package in _DEBIAN_PACKAGES.items() if match[1].startswith(name)), "")
    needed = " ".join(dict.fromkeys([*([package] if package else []), "libgl1", "libglib2.0-0", "libsm6"]))
    return f"on Debian and Ubuntu: apt install {needed}; on Fedora: dnf install mesa-libGL glib2 libSM"


def repair_advice() -> str:
    """The two commands that leave exactly one working OpenCV."""
    try:
        needed = next(each for each in requires("maskwatch") or () if each.startswith(OURS))
    except (PackageNotFoundError, StopIteration):
        needed = OURS
    return f"pip uninstall -y {' '.join(opencv_packages() or (OURS,))}; pip install '{needed}'"


def packages_text() -> str:
    """The packages for a message, such as 'opencv-python 4.12.0.88 and opencv-python-headless 4.10.0.84'."""
    return " and ".join(f"{name} {version}" for name, version in opencv_packages().items())
