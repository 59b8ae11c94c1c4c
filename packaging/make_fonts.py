"""Makes the typefaces of the window (assets/fonts) from the complete ones, by leaving out what is not used.

    apt-get download fonts-inter fonts-noto-core fonts-noto-cjk && for each in *.deb; do dpkg-deb -x $each fonts; done
    python packaging/make_fonts.py fonts/usr/share/fonts

All files are committed: a build does not need this script. It needs fontTools. Chinese and Japanese are large, so only
kana and the signs of ``_SIGNS`` are bundled; other signs come from the system's fonts (app/ui/typeface.py).
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

FONTS = Path(__file__).resolve().parents[1] / "assets" / "fonts"
_EUROPE = [
    *range(0x20, 0x250),  # Latin
    *range(0x2B0, 0x530),  # accents, Greek, Cyrillic
    *range(0x1E00, 0x2070),  # more Latin and Greek, punctuation
    *(*range(0x20A0, 0x20C0), *range(0x2190, 0x2194), 0x2122, 0x2212, 0x25CF),  # currencies, arrows
]
_SIGNS = (
    "请戴口罩请遮住鼻子谢谢您欢迎光临正在等待，。！"  # what the kiosk says, and its relatives
    "マスクを着用してください鼻を覆ってくださいありがとうございます着けて隠してお待ち下さい"
    "入口出口大门前门后门侧门正门东西南北門玄関受付前台大厅廳走廊廊下楼樓层層階地下上左右中外内通道电梯電梯階段"
    "办公室辦公室会议会議教室食堂厨房車库車庫停车场停車場仓库倉庫工厂工場医院病院学校店铺商店駅站摄像头攝像機号號機"
    "一二三四五六七八九十百零第年月日时時分秒"
)
_SHAPING = ["kern", "mark", "mkmk", "ccmp", "locl", "tnum"]
_SOURCES: dict[str, tuple[str, Iterable[int], list[str] | None, int]] = {
    "Inter-Regular.otf": (
        "opentype/inter/Inter-Regular.otf",
        _EUROPE,
        _SHAPING,
        -1,
    ),
    "Inter-SemiBold.otf": (
        "opentype/inter/Inter-SemiBold.otf",
        _EUROPE,
        _SHAPING,
        -1,
    ),
    "NotoSansArabic.ttf": (
        "truetype/noto/NotoSansArabic-Regular.ttf",
        [*range(0x600, 0x700), *range(0x750, 0x780), *range(0x8A0, 0x900)],
        None,  # all features that a script needs
        -1,
    ),
    "NotoSansHebrew.ttf": ("truetype/noto/NotoSansHebrew-Regular.ttf", range(0x590, 0x600), None, -1),
    "NotoSansDevanagari.ttf": (
        "truetype/noto/NotoSansDevanagari-Regular.ttf",
        [*range(0x900, 0x980), 0x200C, 0x200D, 0x25CC],
        None,
        -1,
    ),
    "NotoSansThai.ttf": ("truetype/noto/NotoSansThai-Regular.ttf", range(0xE00, 0xE80), None, -1),
    "NotoSansCJK.otf": (
        "opentype/noto/NotoSansCJK-Regular.ttc",
        [*range(0x3000, 0x3100), *range(0xFF01, 0xFF5F), *map(ord, _SIGNS)],
        ["kern"],
        2,  # simplified Chinese
    ),
}


def main() -> None:
    FONTS.mkdir(exist_ok=True)
    for name, (source, unicodes, features, number) in _SOURCES.items():
        options = subset.Options(notdef_outline=True, hinting=False, name_IDs=[0, 1, 2, 5, 13, 14])
        if features is not None:
            options.layout_features = features
        font = TTFont(Path(sys.argv[1], source), fontNumber=number, recalcTimestamp=False)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=unicodes)
        subsetter.subset(font)
        font.save(FONTS / name)
        print(f"{name}: {(FONTS / name).stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
