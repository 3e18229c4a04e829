"""Where long paths and addresses break."""

import re
from html import unescape

import pytest

from core.pages.line_breaks import breakable, ip_address


def parts_of(html):
    """What a browser never breaks, between the places where it may. A space stands for such a place."""
    return re.sub(r"<[^>]*>", "", html.replace("<wbr>", " ")).split()


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("2001:db8:0:17::beef", ["2001:", "db8:", "0:", "17::", "beef"]),
        ("::1", ["::", "1"]),
        ("::ffff:203.0.113.7", ["::", "ffff:", "203.", "0.", "113.", "7"]),
        ("203.0.113.255", ["203.", "0.", "113.", "255"]),
    ],
)
def test_address_breaks_between_its_groups_only(address, parts):
    html = ip_address(address)

    assert parts_of(html) == parts
    assert html.startswith('<span class="ip-address">')


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("/api/%C3%BCber/%e2%82%ac", ["%C3%BC", "%e2%82%ac"]),
        ("/a%20b", ["%20"]),
        ("/%D0%9F%D0%B8", ["%D0%9F", "%D0%B8"]),
        ("/%FF%zz%4", ["%FF"]),
        ("/plain", []),
    ],
)
def test_character_with_percent_escapes_stays_whole(path, whole):
    html = breakable(path)

    assert re.findall(r'<span class="whole">(.*?)</span>', html) == whole
    assert re.sub(r"<[^>]*>", "", html) == path


def test_path_breaks_after_its_separators_and_is_escaped():
    html = breakable("/a/<b>@example.org")

    assert parts_of(html.replace("&lt;b&gt;", "b")) == ["/", "a/", "b@", "example.org"]
    assert unescape(html.replace("<wbr>", "")) == "/a/<b>@example.org"
