"""What `/ServiceProviderConfig`, `/ResourceTypes` and `/Schemas` say (RFC 7643 sections 5 to 7), as data."""

from typing import Any

from django.conf import settings

from accounts.roles import SiteRole

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
# Identity providers send it by default. The portal accepts it and stores nothing of it.
ENTERPRISE_USER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
_RESOURCE_TYPE = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"

MOST_RESULTS = 200

# The rest of RFC 7643 section 4.1, by names in lower case: accepted, and no person has a value of it.
NOT_STORED = frozenset(
    {
        *("nickname", "profileurl", "title", "usertype", "preferredlanguage", "locale", "timezone", "phonenumbers"),
        *("ims", "photos", "addresses", "entitlements", "x509certificates"),
    }
)


def address(place: str) -> str:
    return f"{settings.PORTAL_URL}/scim/v2/{place}"


def service_provider_config() -> dict[str, Any]:
    return {
        "schemas": [_CONFIG],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MOST_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Access token",
                "description": "A personal access token of an Administrator, with the scope scim.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            }
        ],
        "meta": _meta("ServiceProviderConfig", "ServiceProviderConfig"),
    }


def resource_types() -> list[dict[str, Any]]:
    return [
        _resource_type("User", "/Users", USER, "A person of the organization"),
        _resource_type("Group", "/Groups", GROUP, "A group of people, for access rules"),
    ]


def schemas() -> list[dict[str, Any]]:
    return [
        _schema(USER, "User", "A person of the organization", _USER_ATTRIBUTES),
        _schema(GROUP, "Group", "A group of people, for access rules", _GROUP_ATTRIBUTES),
    ]


def _resource_type(name: str, endpoint: str, schema: str, description: str) -> dict[str, Any]:
    return {
        "schemas": [_RESOURCE_TYPE],
        "id": name,
        "name": name,
        "endpoint": endpoint,
        "description": description,
        "schema": schema,
        "schemaExtensions": [],
        "meta": _meta("ResourceType", f"ResourceTypes/{name}"),
    }


def _schema(urn: str, name: str, description: str, attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schemas": [_SCHEMA],
        "id": urn,
        "name": name,
        "description": description,
        "attributes": attributes,
        "meta": _meta("Schema", f"Schemas/{urn}"),
    }


def _meta(resource_type: str, place: str) -> dict[str, Any]:
    return {"resourceType": resource_type, "location": address(place)}


def _attribute(name: str, description: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    described = {
        "name": name,
        "type": kind,
        "multiValued": False,
        "description": description,
        "required": False,
        "mutability": "readWrite",
        "returned": "default",
    }
    if kind != "complex":
        described["uniqueness"] = "none"
    if kind in {"string", "reference"}:
        described["caseExact"] = False
    return described | more


_READ_ONLY = {"mutability": "readOnly"}
# Of a member, only who it is: to change that is to remove one and to add another.
_FIXED = {"mutability": "immutable"}

_USER_ATTRIBUTES = [
    _attribute(
        "userName",
        "The person's e-mail address, with which they sign in. One person of this installation has it.",
        required=True,
        uniqueness="server",
    ),
    _attribute(
        "displayName",
        "The person's name, 1 to 100 characters. If you leave it out when you create a person, name.formatted, or "
        "name.givenName with name.familyName, is taken.",
        required=True,
    ),
    _attribute(
        "name",
        "The same as displayName. The portal stores no parts of names.",
        "complex",
        **_READ_ONLY,
        subAttributes=[_attribute("formatted", "The same as displayName.", **_READ_ONLY)],
    ),
    _attribute(
        "emails",
        "The same address as userName.",
        "complex",
        multiValued=True,
        **_READ_ONLY,
        subAttributes=[
            _attribute("value", "The same as userName.", **_READ_ONLY),
            _attribute("type", "Always work.", **_READ_ONLY),
            _attribute("primary", "Always true.", "boolean", **_READ_ONLY),
        ],
    ),
    _attribute(
        "active",
        "People who are not active can't sign in, and none of their tokens work. New people are active unless you say "
        "otherwise.",
        "boolean",
        required=True,
    ),
    _attribute(
        "roles",
        "The person's site role, exactly one. Without it, a new person becomes a Guest.",
        "complex",
        multiValued=True,
        required=True,
        subAttributes=[
            _attribute("value", "The site role's id.", required=True, canonicalValues=list(SiteRole.values)),
        ],
    ),
    _attribute(
        "groups",
        "The groups that the person is in. Change them at /Groups.",
        "complex",
        multiValued=True,
        **_READ_ONLY,
        subAttributes=[
            _attribute("value", "The group's id.", **_READ_ONLY),
            _attribute("$ref", "The group's address.", "reference", **_READ_ONLY, referenceTypes=["Group"]),
            _attribute("display", "The group's name.", **_READ_ONLY),
            _attribute("type", "Always direct.", **_READ_ONLY),
        ],
    ),
]
_GROUP_ATTRIBUTES = [
    _attribute(
        "displayName",
        "The group's name, 1 to 50 characters, unique in the organization.",
        required=True,
        uniqueness="server",
    ),
    _attribute(
        "members",
        "The people in the group. Groups have no groups as members.",
        "complex",
        multiValued=True,
        subAttributes=[
            _attribute("value", "The person's id.", **_FIXED),
            _attribute("$ref", "The person's address.", "reference", **_FIXED, referenceTypes=["User"]),
            _attribute("type", "Always User.", **_FIXED, canonicalValues=["User"]),
        ],
    ),
]
