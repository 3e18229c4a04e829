"""Paths that the portal and a service could read differently are refused; the others are decoded once."""

import pytest

from gateway.request_paths import Ambiguous, path_of


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/api/dashboards?from=now-1h,now", "/api/dashboards"),
        ("/api/%61dmin", "/api/admin"),
        ("/a%20b/", "/a b/"),
        ("/gr%C3%BCn", "/grün"),
        ("/v2/library/nginx/manifests/sha256:ab..cd", "/v2/library/nginx/manifests/sha256:ab..cd"),
        ("/?next=/a/../b", "/"),
    ],
)
def test_plain_path_is_decoded_once(target, path):
    assert path_of(target) == path


@pytest.mark.parametrize(
    "target",
    [
        "",
        "admin",
        "*",
        "http://other.example/admin",
        "//admin",
        "/public//admin",
        "/public/../admin",
        "/public/./admin",
        "/public/..",
        "/public/.../admin",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public%2fadmin",
        "/public%2Fadmin",
        "/public%5cadmin",
        "/public\\admin",
        "/%2561dmin",
        "/admin%00",
        "/admin%0a",
        "/admin%7f",
        "/admin%",
        "/admin%4",
        "/admin%zz",
        "/admin;x=1/users",
        "/admin%3bx=1",
        "/admin,/public",
        "/public,/admin",
        "/public?x=1,/admin",
        "/public?x=1, /admin",
        "/public?x=1,https://a/admin",
        "/admin#/public",
        "/admin?x#y",
        "/admin users",
        "/admin\tusers",
        "/admin\x00",
        "/grün",
        "/%ff",
        "/%e2%80%8badmin",
        "/%c2%a0/admin",
        "/ /admin",
        "/%20/admin",
        "/" + "a" * 2048,
    ],
)
def test_ambiguous_path_is_refused(target):
    with pytest.raises(Ambiguous):
        path_of(target)
