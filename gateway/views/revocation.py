"""Token revocation (RFC 7009): a service ends a token that was made for it, or anyone a token that they have.

The answer is always the same, so that it reveals nothing about the token.
"""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables

from accounts.access_tokens import access_tokens
from gateway.client_authentication import are_sent, authenticated_service
from gateway.oauth_requests import Form, oauth_endpoint, required


@oauth_endpoint
@sensitive_variables()
def revoke(request: HttpRequest, form: Form) -> HttpResponse:
    """Without credentials, this is a report of a leaked token: having it is all the permission that this needs."""
    if are_sent(request, form):
        service = authenticated_service(request, form)
        sent = required(form, "token")
        access_tokens().revoke_by_service(sent, service_id=service.pk, service_name=service.name, request=request)
    else:
        access_tokens().report(required(form, "token"), request=request)
    response = HttpResponse(status=200)
    del response.headers["Content-Type"]
    return response
