"""An example request for scripts, which works as pasted."""

import json

from django.conf import settings
from django.urls import reverse

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
