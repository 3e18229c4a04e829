"""What pages say about the networks from which the policy lets tokens be used."""

from typing import Any

from django.http import HttpRequest

from accounts.models import Organization
from core.networks import is_inside


def networks_of_policy(organization: Organization, request: HttpRequest) -> dict[str, Any]:
    """``policy_networks``: empty if tokens can be used from everywhere. ``here``: the reader's address, or none.
    ``is_inside_policy``: whether it is in one of the networks."""
    here = getattr(request, "client_address", None)
    return {
        "policy_networks": organization.token_networks.split(),
        "here": here,
        "is_inside_policy": is_inside(organization.token_networks, here),
    }
