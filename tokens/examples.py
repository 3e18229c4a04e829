"""Example requests with a new token, which work as pasted."""

from django.conf import settings
from django.utils.translation import gettext as _

from core.api.scopes import PIPELINE, PIPELINE_READONLY
from tokens.models import Token


def examples_of(token: Token, signed_jwt: str) -> list[dict[str, str]]:
    """Each with ``id``, ``label`` and ``text``. They call an operation that the token's scopes allow."""
    pipelines = bool({PIPELINE, PIPELINE_READONLY} & set(token.scopes))
    url = f"{settings.PORTAL_URL}/api/v1/{'pipelines' if pipelines else 'me'}"
    return [
        {"id": "curl", "label": "curl", "text": f'curl {url} \\\n  -H "Authorization: Bearer {signed_jwt}"'},
        {
            "id": "python",
            "label": "Python",
            "text": (
                "import urllib.request\n\n"
                f'request = urllib.request.Request("{url}")\n'
                f'request.add_header("Authorization", "Bearer {signed_jwt}")\n'
                "print(urllib.request.urlopen(request).read().decode())"
            ),
        },
        {
            "id": "postman",
            "label": "Postman",
            # Translators: the collection, its variables address and token, and its request “Ask who I am” are English.
            "text": _(
                "1. Import docs/postman/opsera-portal.postman_collection.json.\n"
                "2. Set the variable address to %(address)s\n"
                "3. Set the variable token to the token above, and send “Ask who I am”."
            )
            % {"address": settings.PORTAL_URL},
        },
    ]
