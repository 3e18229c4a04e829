"""Example requests with a new token, which work as pasted."""

import uuid

from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from core.api.scopes import PIPELINE, PIPELINE_READONLY
from tokens.models import Token


def examples_of(token: Token, signed_jwt: str, *, can_run: bool = False) -> list[dict[str, str]]:
    """Each with ``id``, ``label`` and ``text``. They read something that the token's scopes allow. A token that can run
    exactly one pipeline gets the command for this first. A token of a service without an address has none."""
    if service := token.known_service:
        texts = [("curl", "curl", _curl(service.address, signed_jwt))] if service.address else []
        return _shown(texts, signed_jwt)
    pipelines = bool({PIPELINE, PIPELINE_READONLY} & set(token.scopes))
    url = f"{settings.PORTAL_URL}/api/v1/{'pipelines' if pipelines else 'me'}"
    chosen = token.pipeline_ids or []
    run = [("run", _("Run the pipeline"), _curl_to_run(chosen[0], signed_jwt))] if can_run and len(chosen) == 1 else []
    texts = [
        *run,
        ("curl", "curl", _curl(url, signed_jwt)),
        ("python", "Python", _python(url, signed_jwt)),
        ("javascript", "JavaScript", _javascript(url, signed_jwt)),
        ("powershell", "PowerShell", _powershell(url, signed_jwt)),
        # Postman imports a curl command.
        ("postman", "Postman", _curl(url, signed_jwt)),
        ("github", "GitHub Actions", _github_actions(url)),
    ]
    return _shown(texts, signed_jwt)


def _shown(texts: list[tuple[str, str, str]], signed_jwt: str) -> list[dict[str, str]]:
    return [{"id": name, "label": label, "text": _cut(text, signed_jwt)} for name, label, text in texts]


def _cut(text: str, signed_jwt: str) -> SafeString:
    """The token is shown shortened in the middle of a line, and is copied as a whole."""
    token = format_html('<span class="cut">{}</span>', signed_jwt)
    return format_html_join(token, "{}", ((part,) for part in text.split(signed_jwt)))


def _curl(url: str, signed_jwt: str) -> str:
    return f'curl {url} \\\n  -H "Authorization: Bearer {signed_jwt}"'


def _curl_to_run(pipeline_id: uuid.UUID, signed_jwt: str) -> str:
    return (
        f"{_curl(f'{settings.PORTAL_URL}/api/v1/pipeline/run', signed_jwt)} \\\n"
        '  -H "Content-Type: application/json" \\\n'
        f"""  -d '{{"pipelineId": "{pipeline_id}"}}'"""
    )


def _python(url: str, signed_jwt: str) -> str:
    return (
        "import urllib.request\n\n"
        f'request = urllib.request.Request("{url}")\n'
        f'request.add_header("Authorization", "Bearer {signed_jwt}")\n'
        "print(urllib.request.urlopen(request).read().decode())"
    )


def _javascript(url: str, signed_jwt: str) -> str:
    """For Node, which runs it from standard input or from a file `.mjs`."""
    return (
        f'const answer = await fetch("{url}", {{\n'
        f'  headers: {{ Authorization: "Bearer {signed_jwt}" }},\n'
        "});\n"
        "console.log(answer.status, await answer.json());"
    )


def _powershell(url: str, signed_jwt: str) -> str:
    return f'Invoke-RestMethod -Uri "{url}" `\n  -Headers @{{ Authorization = "Bearer {signed_jwt}" }}'


def _github_actions(url: str) -> str:
    """The token goes into a secret of the repository, never into the file."""
    # Translators: these are lines of a file, comments of one line each. The names in it are GitHub's, in English.
    where = _("# Settings > Secrets and variables > Actions: add the secret OPSERA_TOKEN with the token above.")
    return (
        f"{where}\n"
        "on: workflow_dispatch\n"
        "jobs:\n"
        "  call-portal:\n"
        "    runs-on: ubuntu-latest\n"
        "    steps:\n"
        "      - run: |\n"
        f'          curl --fail-with-body -H "Authorization: Bearer $OPSERA_TOKEN" {url}\n'
        "        env:\n"
        "          OPSERA_TOKEN: ${{ secrets.OPSERA_TOKEN }}"
    )
