"""Version information for Windows, shown under Properties, Details."""

from collections.abc import Mapping
from typing import Any


def numbers(version: str) -> tuple[int, int, int, int]:
    """The four version numbers that Windows requires: 1.2.3rc1 is (1, 2, 3, 0)."""
    parsed = []
    for part in version.split(".")[:4]:
        digits = ""
        for letter in part:
            if not letter.isdigit():
                break
            digits += letter
        parsed.append(int(digits or 0))
    first, second, third, fourth = (*parsed, 0, 0, 0, 0)[:4]
    return first, second, third, fourth


def strings(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        "CompanyName": "The maskwatch authors",
        "FileDescription": "maskwatch: real-time face-mask monitor",
        "FileVersion": metadata["version"],
        "InternalName": "maskwatch",
        "LegalCopyright": "Copyright 2026 The maskwatch authors. MIT licence.",
        "ProductName": "maskwatch",
        "ProductVersion": f"{metadata['version']} ({metadata['commit'][:12]})",
    }


def windows(metadata: Mapping[str, Any]) -> Any:
    """PyInstaller's ``VSVersionInfo``; works only on Windows."""
    from PyInstaller.utils.win32 import versioninfo as v

    first = numbers(metadata["version"])
    english_unicode = "040904B0"
    table = v.StringTable(english_unicode, [v.StringStruct(key, value) for key, value in strings(metadata).items()])
    translation = v.VarFileInfo([v.VarStruct("Translation", [0x0409, 0x04B0])])
    return v.VSVersionInfo(
        ffi=v.FixedFileInfo(filevers=first, prodvers=first), kids=[v.StringFileInfo([table]), translation]
    )
