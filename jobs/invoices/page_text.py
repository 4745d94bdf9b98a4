"""Text that strangers wrote is made writable: what has no shape, or would turn the text around it, is left out."""

import re

UNWRITABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ue000-\uf8ff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
"""Controls, marks of direction, private and forbidden characters: https://www.w3.org/TR/unicode-xml/#Charlist.

The joiners that Arabic and Indic scripts need stay.
"""
_BREAKS = re.compile("\r\n?|[\x85\u2028\u2029]")


def clean(text: str) -> str:
    """`text` without what cannot be written; each end of a line is a line feed."""
    return UNWRITABLE.sub("", _BREAKS.sub("\n", text))
