"""Why a use of a token was allowed or refused, and what its owner can do about it, in sentences."""

from django.utils.translation import gettext_lazy as _

from auditlog.models import TokenUse
from core.text import Text

Reason = TokenUse.Reason

EXPLANATIONS: dict[str, Text] = {
    Reason.OK: _("The token was valid, its scopes allowed the operation, and its owner was allowed to do it."),
    Reason.INSUFFICIENT_SCOPE: _(
        "None of the token's scopes allows this operation. You can't add scopes to a token: create a new one with a "
        "scope that allows it, and expire this one."
    ),
    Reason.FORBIDDEN: _(
        "Its scopes allow the operation, but the token's owner isn't allowed to do this, the token is limited to other "
        "pipelines, or the object does not exist. A token can never do more than its owner."
    ),
    Reason.EXPIRED: _("The token had expired, but a script still uses it: give the script a new token, or stop it."),
    Reason.REVOKED: _(
        "The token had been expired early, but someone or some script still uses it. If you do not know this address "
        "or program, assume that the token was stolen. Nobody can use it now."
    ),
    Reason.NOT_REVEALED: _(
        "The token was used although it was never shown to anybody. Nobody should have it: tell an Administrator."
    ),
    Reason.OWNER_DEACTIVATED: _(
        "The token's owner is deactivated, so none of their tokens work. Give the script a token of an active person."
    ),
    Reason.BLOCKED_BY_POLICY: _(
        "The organization's policy blocked the token: its lifetime is too long, it has a scope that is not allowed, it "
        "was not used for too long, or its owner must set up two-factor first. The token's page says which rule blocks "
        "it and what to do."
    ),
    Reason.NETWORK_NOT_ALLOWED: _(
        "The token can be used only from chosen networks, and this address is in none of them. If you do not know the "
        "address, assume that someone else has the token, and expire it."
    ),
    Reason.NETWORK_POLICY: _(
        "The organization's policy lets its tokens be used only from its own networks, and this address is in none of "
        "them. If you do not know the address, assume that someone else has the token, and expire it."
    ),
    Reason.NOT_STARTED: _(
        "The token has a start time, and it was used before. If you do not know this address or program, assume that "
        "someone else has the token, and expire it."
    ),
    Reason.USED_UP: _(
        "The token could be used only a number of times, and all uses were taken. If the script needs more, give it a "
        "new token. If you do not know this address or program, assume that someone else has the token."
    ),
    Reason.TOKEN_REUSED: _(
        "The token tried to replace itself although another token had replaced it already. Someone may have a copy, so "
        "the portal expired all tokens of this family. If one script called twice, create a new token for it. "
        "Otherwise, find out who uses this address and program."
    ),
    Reason.WRONG_AUDIENCE: _(
        "The token was made for something else: a token is either for the portal's API or for one service. Create a "
        "token for what the script calls."
    ),
    Reason.SERVICE_DISABLED: _(
        "The service is switched off in the portal, so none of its tokens work. Ask an Administrator."
    ),
    Reason.PATH_NOT_ALLOWED: _(
        "No rule of the service opens this method and path, whatever scopes the token has. If the script needs it, ask "
        "an Administrator to change the rules of the service."
    ),
    Reason.AMBIGUOUS_PATH: _(
        "The portal and the service could read this request in different ways: for example, its path contains “..” or "
        "an encoded slash, or it is for another host. Send the request in its plain form."
    ),
    Reason.THROTTLED: _("Too many requests in a short time. Wait for the time that `Retry-After` in the answer gives."),
    Reason.INVALID_REQUEST: _(
        "The request itself was wrong: its body, a field or a parameter. The answer said which; nothing was changed."
    ),
    Reason.CONFLICT: _(
        "The request itself was right, but the current state did not allow it: for example, the pipeline was locked or "
        "had no steps, or somebody had changed it in the meantime. The answer said why; nothing was changed."
    ),
    Reason.NOT_FOUND: _("There is no operation at this address. The API reference lists all operations."),
    Reason.ERROR: _("The portal failed, and nothing was changed. Try again. If it fails again, report the request ID."),
}

# What differs for a use of a service.
OF_SERVICES: dict[str, Text] = {
    Reason.OK: _(
        "The token was valid, and its owner was allowed to use the service. The service itself may still have refused "
        "the request."
    ),
    Reason.INSUFFICIENT_SCOPE: _(
        "None of the token's scopes allows this request to the service. You can't add scopes to a token: create a new "
        "one with a scope that allows it, and expire this one."
    ),
    Reason.FORBIDDEN: _(
        "The token's owner isn't allowed to use this service, or the portal did not trust the program that asked. An "
        "Administrator can change who may use the service."
    ),
    Reason.NOT_FOUND: _("The service has nothing at this address."),
    Reason.ERROR: _(
        "The portal failed, so the request did not reach the service. Try again. If it fails again, report the request "
        "ID."
    ),
}
# What differs if the service checked the token itself.
REPORTED: dict[str, Text] = {
    Reason.OK: _("The service checked the token itself, accepted it, and reported this use to the portal."),
}


def explanation_of(entry: TokenUse) -> Text:
    """Empty for a reason that is not one of ours."""
    texts = EXPLANATIONS
    if entry.service_id:
        texts = {**EXPLANATIONS, **OF_SERVICES, **(REPORTED if entry.reported_at else {})}
    return texts.get(entry.reason, "")
