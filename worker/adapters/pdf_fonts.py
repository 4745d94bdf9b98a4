"""What a machine must have before it can make PDFs: libraries, and fonts for customers' names in every script."""

import ctypes
import ctypes.util

LIBRARIES = {
    "libpango-1.0.so.0": "pango-1.0",
    "libpangoft2-1.0.so.0": "pangoft2-1.0",
    "libharfbuzz-subset.so.0": "harfbuzz-subset",
}
"""By the name that Linux's loader knows, and by the one that `ctypes` finds elsewhere."""

FONTS = (
    "Noto Sans",
    "Noto Sans Hebrew",
    "Noto Sans Arabic",
    "Noto Sans Thai",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
)
"""What deploy/system_libraries.py installs, and templates/invoice/document.css names."""

HOMEBREW = ("/opt/homebrew/lib", "/usr/local/lib")
FIX = "`python3 deploy/system_libraries.py` installs it, or says which command does"


def missing() -> list[str]:
    """What is not there, each with what to do about it; empty when PDFs can be made."""
    lacking = [f"the library {name}: {FIX}" for soname, name in LIBRARIES.items() if _load(soname, name) is None]
    return lacking + [f"the font {family}: {FIX}" for family in FONTS if not known(family)]


def _load(soname: str, name: str) -> ctypes.CDLL | None:
    for candidate in (soname, ctypes.util.find_library(name), *(f"{folder}/lib{name}.dylib" for folder in HOMEBREW)):
        if candidate:
            try:
                return ctypes.CDLL(candidate)
            except OSError:
                continue
    return None


def known(family: str) -> bool:
    """Whether fontconfig would choose a font of this very family."""
    fontconfig = _load("libfontconfig.so.1", "fontconfig")  # comes with Pango
    if fontconfig is None:
        return False
    for function in ("FcInitLoadConfigAndFonts", "FcNameParse", "FcFontMatch"):
        getattr(fontconfig, function).restype = ctypes.c_void_p
    pattern = ctypes.c_void_p(fontconfig.FcNameParse(family.encode()))
    config = ctypes.c_void_p(fontconfig.FcInitLoadConfigAndFonts())
    fontconfig.FcConfigSubstitute(config, pattern, 0)
    fontconfig.FcDefaultSubstitute(pattern)
    found = ctypes.c_void_p(fontconfig.FcFontMatch(config, pattern, ctypes.byref(ctypes.c_int())))
    names: list[str] = []
    name = ctypes.c_char_p()
    while found and fontconfig.FcPatternGetString(found, b"family", len(names), ctypes.byref(name)) == 0:
        names.append((name.value or b"").decode().casefold())
    for made, destroy in ((found, "FcPatternDestroy"), (pattern, "FcPatternDestroy"), (config, "FcConfigDestroy")):
        if made:
            getattr(fontconfig, destroy)(made)
    return family.casefold() in names
