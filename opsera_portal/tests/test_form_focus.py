"""After a form was sent, the page opens with the focus on its errors or on the message about it, also without scripts.

WCAG 2.2, 3.3.1 and 4.1.3.
"""

import re
from pathlib import Path

import pytest
from django.conf import settings

from accounts.tests.factories import GroupFactory
from accounts.tests.factors import add_passkey
from pipelines.tests.factories import PipelineFactory
from tokens.tests.factories import TokenFactory

TEMPLATES = Path(settings.BASE_DIR) / "templates"


def focused(page):
    """The names or ids of the elements with the focus. A page must have at most one."""
    elements = re.findall(r"<[a-z]+(?=\s)[^>]*\sautofocus[^>]*>", page)
    return [re.search(r'\s(?:id|name)="([^"]+)"', element)[1] for element in elements]


@pytest.mark.parametrize(
    "path",
    [
        "/profile/tokens/",
        "/profile/tokens/{token}/",
        "/profile/tokens/{of_owner}/expire/",
        "/profile/preferences/",
        "/profile/security/password/",
        "/tokens/lookup/",
        "/organization/users/invite/",
        "/organization/groups/",
        "/organization/policy/save/",
        "/organization/single-sign-on/",
        "/pipelines/new/",
        "/pipelines/{pipeline}/steps/new/",
        "/pipelines/{pipeline}/access-rules/",
    ],
)
def test_page_with_errors_has_the_focus_on_their_summary(client, administrator, owner, path):
    client.force_login(administrator)
    token, of_owner = TokenFactory(owner=administrator), TokenFactory(owner=owner)
    address = path.format(token=token.pk, of_owner=of_owner.pk, pipeline=PipelineFactory(owner=administrator).pk)

    page = client.post(address, {"name": "\0"}).content.decode()

    assert focused(page) == ["error-summary"]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/profile/preferences/", {"language": "", "time_zone": "Europe/Berlin"}),
        ("/profile/security/sessions/end-all/", {}),
        ("/profile/security/passkeys/{passkey}/rename/", {"name": "Laptop"}),
        ("/profile/tokens/{token}/", {"name": "nightly build", "description": "What it is for"}),
        ("/organization/users/{owner}/role/", {"site_role": "guest"}),
        ("/organization/users/{owner}/deactivate/", {}),
        ("/organization/groups/{group}/rename/", {"name": "Testers"}),
        ("/organization/groups/{group}/members/", {"email": "owner@acme.example"}),
        ("/pipelines/{pipeline}/edit/", {"name": "Release"}),
        ("/pipelines/{pipeline}/notifications/", {"notified_people": "owner@acme.example"}),
        ("/pipelines/{pipeline}/access-rules/", {"who": "owner@acme.example", "role": "user"}),
        ("/pipelines/{pipeline}/lock/", {}),
        # It is refused, because the pipeline has no steps.
        ("/pipelines/{pipeline}/run/", {}),
    ],
)
def test_page_after_an_action_has_the_focus_on_its_message(client, administrator, owner, path, fields):
    passkey = add_passkey(administrator).pk if "passkey" in path else ""
    client.force_login(administrator)
    address = path.format(
        passkey=passkey,
        token=TokenFactory(owner=administrator).pk,
        owner=owner.pk,
        group=GroupFactory(organization=administrator.organization).pk,
        pipeline=PipelineFactory(owner=administrator).pk,
    )

    answer = client.post(address, fields, follow=True)

    assert len(answer.redirect_chain) == 1
    assert focused(answer.text) == ["messages"]
    assert focused(client.get(answer.request["PATH_INFO"]).text) == []


@pytest.mark.parametrize("path", ["/profile/authentication-log/", "/organization/tokens/", "/pipelines/runs/"])
def test_wrong_filter_has_the_focus(client, administrator, path):
    client.force_login(administrator)
    name = "q" if path == "/organization/tokens/" else "date"

    assert focused(client.get(path, {name: "x" * 200}).content.decode()) == [name]
    assert focused(client.get(path).content.decode()) == []


def test_every_form_of_a_page_has_a_summary_of_its_errors():
    pages = [path for path in TEMPLATES.rglob("*.html") if path.parent.name not in {"includes", "admin"}]
    forms = {path: text for path in pages if "{% field" in (text := path.read_text())}

    without = [
        str(path.relative_to(TEMPLATES))
        for path, text in forms.items()
        if 'method="post"' in text and "form_errors.html" not in text
    ]

    assert len(forms) > 15
    assert without == []
