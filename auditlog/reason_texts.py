"""Why a use of a token was allowed or refused, and what its owner can do about it, in sentences."""

from auditlog.models import TokenUse

Reason = TokenUse.Reason

EXPLANATIONS: dict[str, str] = {
    Reason.OK: "The token was valid, its scopes opened the operation, and its owner was allowed to do it.",
    Reason.INSUFFICIENT_SCOPE: (
        "None of the token's scopes opens this operation. You can't add scopes to a token: create a new one with a "
        "scope that opens it, and expire this one."
    ),
    Reason.FORBIDDEN: (
        "Its scopes open the operation, but the token's owner isn't allowed to do this, or the object does not exist. "
        "A token can never do more than its owner."
    ),
    Reason.EXPIRED: "The token had expired, but a script still uses it: give the script a new token, or stop it.",
    Reason.REVOKED: (
        "The token had been expired early, but someone or some script still uses it. If you do not know this address "
        "or program, assume that the token was stolen. Nobody can use it now."
    ),
    Reason.NOT_REVEALED: (
        "The token was used although it was never shown to its owner. Nobody should have it: tell an Administrator."
    ),
    Reason.OWNER_DEACTIVATED: (
        "The token's owner is deactivated, so none of their tokens work. Give the script a token of an active person."
    ),
    Reason.BLOCKED_BY_POLICY: (
        "The organization's policy blocked the token: its lifetime is too long, it has a scope that is not allowed, it "
        "was not used for too long, or its owner must set up two-factor first. The token's page says which rule blocks "
        "it and what to do."
    ),
    Reason.THROTTLED: "Too many requests in a short time. Wait for the time that `Retry-After` in the answer gives.",
    Reason.INVALID_REQUEST: (
        "The request itself was wrong: its body, a field or a parameter. The answer said which; nothing was changed."
    ),
    Reason.NOT_FOUND: "There is no operation at this address. The API reference lists all operations.",
    Reason.ERROR: "The portal failed, and nothing was changed. Try again. If it fails again, report the request ID.",
}
