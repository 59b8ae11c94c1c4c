"""What the kiosk says, in several languages."""

import locale
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from app.settings.view import LANGUAGES, KioskSentences


@dataclass(frozen=True, slots=True)
class Sentences:
    thank_you: str
    wear_mask: str
    cover_nose: str
    unsure: str
    idle: str


SENTENCES = {
    "en": Sentences("Thank you", "Please wear a mask", "Please cover your nose", "One moment, please",
                    "Welcome. Please look here"),
    "de": Sentences("Vielen Dank", "Bitte eine Maske tragen", "Bitte die Nase bedecken", "Einen Moment bitte",
                    "Willkommen. Bitte hierher schauen"),
    "fr": Sentences("Merci", "Veuillez porter un masque", "Veuillez couvrir votre nez", "Un instant, s’il vous plaît",
                    "Bienvenue. Regardez ici, s’il vous plaît"),
    "es": Sentences("Gracias", "Por favor, use mascarilla", "Por favor, cúbrase la nariz", "Un momento, por favor",
                    "Le damos la bienvenida. Mire aquí, por favor"),
    "pt": Sentences("Agradecemos", "Por favor, use máscara", "Por favor, cubra o nariz", "Um momento, por favor",
                    "Boas-vindas. Olhe para cá, por favor"),
    "id": Sentences("Terima kasih", "Mohon kenakan masker", "Mohon tutupi hidung Anda", "Mohon tunggu sebentar",
                    "Selamat datang. Silakan lihat ke sini"),
    "zh": Sentences("谢谢您", "请戴口罩", "请遮住鼻子", "请等一下", "欢迎光临"),
    "ja": Sentences("ありがとうございます", "マスクを着用してください", "鼻を覆ってください",
                    "お待ちください", "ようこそ"),
    "ar": Sentences("شكرًا لك", "يرجى ارتداء الكمامة", "يرجى تغطية الأنف", "لحظة من فضلك",
                    "أهلًا وسهلًا، انظر إلى هنا من فضلك"),
}  # fmt: skip


def sentences_of(language: str, own: KioskSentences) -> Sentences:
    """The sentences in ``language`` (empty: that of the system), each replaced by the user's own if there is one."""
    given = SENTENCES[language or system_language()]
    chosen = {name: getattr(own, name) or getattr(given, name) for name in Sentences.__dataclass_fields__}
    return Sentences(**chosen)


def system_language(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> str:
    """The first language of the user that is one of ``LANGUAGES``; else English."""
    for name in _named_languages(environ, platform):
        language = name.replace("-", "_").partition("_")[0].partition(".")[0].lower()
        if language in LANGUAGES:
            return language
    return "en"


def _named_languages(environ: Mapping[str, str], platform: str) -> list[str]:
    """The user's languages, the preferred one first, such as de_AT.UTF-8."""
    named = [name for name in environ.get("LANGUAGE", "").split(":") if name]
    effective = next((environ[key] for key in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(key)), "")
    named.append(effective)
    if platform == "win32":
        named.append(_windows_language())
    elif platform == "darwin" and not effective:  # a program started by a double click has no LANG
        named += _mac_languages()
    return named


def _windows_language() -> str:
    if sys.platform == "win32":
        import ctypes

        return locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage(), "")
    return ""


def _mac_languages() -> list[str]:
    try:
        argv = ["defaults", "read", "-g", "AppleLanguages"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.replace('"', " ").replace(",", " ").replace("(", " ").split()
