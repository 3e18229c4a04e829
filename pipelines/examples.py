"""What a script needs to run a pipeline: a request that works as pasted, and a token for it."""

import json
import unicodedata
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse

from core.api.scopes import PIPELINE
from core.text import is_invisible
from pipelines.models import Pipeline


def curl_to_run(pipeline: Pipeline) -> str:
    """Runs the pipeline, with the token in the variable `TOKEN`, as in the API reference."""
    url = settings.PORTAL_URL + reverse("pipelines_api:pipeline_run")
    body = json.dumps({"pipelineId": str(pipeline.pk)})
    return (
        f"curl {url} \\\n"
        '  -H "Authorization: Bearer $TOKEN" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'"
    )


def query_of_token_form(pipeline: Pipeline) -> str:
    """Fills in the form for a token that can only run this pipeline (docs/tokens.md)."""
    values = {"name": _name_of_token(pipeline.name), "scopes": PIPELINE.id, "pipelines": str(pipeline.pk)}
    return urlencode({name: value for name, value in values.items() if value})


def _name_of_token(name: str) -> str:
    """The name without characters that no token has in its name, and not longer than one."""
    kept = "".join(each if _fits_in_name(each) else " " for each in name)
    return " ".join(kept.split())[:50].strip()


def _fits_in_name(character: str) -> bool:
    category = unicodedata.category(character)
    return character in "-':_." or ((category[0] in "LM" or category == "Nd") and not is_invisible(character))
