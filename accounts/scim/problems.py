"""What SCIM refuses, each with the word of RFC 7644 table 9. `core.api.problems` gives them their shape."""

from core.api.problems import Problem


class InvalidFilter(Problem):
    scim_type = "invalidFilter"


class InvalidPath(Problem):
    scim_type = "invalidPath"


class InvalidSyntax(Problem):
    scim_type = "invalidSyntax"


class InvalidValue(Problem):
    scim_type = "invalidValue"


class NoTarget(Problem):
    scim_type = "noTarget"


class NotChangeable(Problem):
    scim_type = "mutability"
