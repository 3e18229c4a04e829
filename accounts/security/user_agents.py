"""Names browsers by what they say of themselves, which proves nothing."""

from django.utils.translation import gettext as _
from ua_parser import parse

# The library's names that people would not recognize.
NAMES = {
    "Mobile Safari": "Safari",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Edge Mobile": "Edge",
    "HeadlessChrome": "Headless Chrome",
    "Mac OS X": "macOS",
    "Chrome OS": "ChromeOS",
    "Ubuntu": "Linux",
    "Fedora": "Linux",
}
LONGEST = 200
LONGEST_UNKNOWN = 60


def browser_in_words(user_agent: str) -> str:
    """`Firefox on Linux`; for unknown browsers, the first characters of the header."""
    found = parse(user_agent[:LONGEST])
    families = [part.family for part in (found.user_agent, found.os) if part is not None]
    names = [NAMES.get(family, family) for family in families]
    if len(names) == 2:
        return _("%(browser)s on %(system)s") % {"browser": names[0], "system": names[1]}
    return "".join(names) or user_agent[:LONGEST_UNKNOWN] or _("Unknown browser")
