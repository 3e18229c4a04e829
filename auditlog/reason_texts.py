"""Why a use of a token was allowed or refused, and what its owner can do about it, in sentences."""

from auditlog.models import TokenUse

Reason = TokenUse.Reason

EXPLANATIONS: dict[str, str] = {
    Reason.OK: "The token was valid, its scopes opened the operation, and its owner was allowed to do it.",
    Reason.INSUFFICIENT_SCOPE: (
        "None of the token's scopes opens this operation. Scopes cannot be added to a token: make a new one with a "
        "scope that does, and expire this one."
    ),
    Reason.FORBIDDEN: (
        "The token opens the operation, but its owner may not do this, or the thing asked for does not exist. "
        "A token can never do more than its owner."
    ),
    Reason.EXPIRED: (
        "The token had reached its end. Some script still uses it: give the script a new token, or stop it."
    ),
    Reason.REVOKED: (
        "The token had been expired early, and someone or some script still has it. If you do not know this address "
        "or program, take the token for stolen; it opens nothing any more."
    ),
    Reason.NOT_REVEALED: (
        "The token was used although it was never shown to its owner. Nobody should have it: tell your administrator."
    ),
    Reason.OWNER_DEACTIVATED: (
        "The token's owner is deactivated, so none of their tokens works. Give the script a token of someone active."
    ),
    Reason.BLOCKED_BY_POLICY: (
        "A rule of the organization's policy stood against the token: it lives longer than is allowed, has a scope "
        "that is not, was not used for too long, or its owner has to set up two-factor first. The token's page says "
        "which, and what to do."
    ),
    Reason.THROTTLED: "Too many requests in a short time. Wait as long as `Retry-After` in the answer says.",
    Reason.INVALID_REQUEST: (
        "The request itself was wrong: its body, a field or a parameter. The answer said which; nothing was changed."
    ),
    Reason.NOT_FOUND: "There is no operation at this address. The API reference lists those that there are.",
    Reason.ERROR: "The portal failed, and nothing was changed. Try again, and report the request ID if it goes on.",
}
