"""Filters and paths of SCIM are parsed as the library scim2-models parses them, and bodies as providers send them."""

import logging

import pytest

from accounts.roles import SiteRole
from accounts.scim.changes import GroupDraft, UserDraft, read_operations, read_resource
from accounts.scim.grammar import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_LENGTH,
    Both,
    Comparison,
    Either,
    Not,
    Selection,
    parse_filter,
    parse_path,
)
from core.api.problems import Problem

ID = "2819c223-7f76-453a-919d-413861904646"
# The examples of RFC 7644 section 3.4.2.2, and what providers send.
FILTERS = """
userName eq "bjensen"
name.familyName co "O'Malley"
userName sw "J"
urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J"
title pr
meta.lastModified gt "2011-05-13T04:42:34Z"
meta.lastModified ge "2011-05-13T04:42:34Z"
title pr and userType eq "Employee"
title pr or userType eq "Intern"
schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")
userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")
userType eq "Employee" and (emails.type eq "work")
userType eq "Employee" and emails[type eq "work" and value co "@example.com"]
emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]
a eq true or b eq false and c ne null or not(d lt -1.5e3)
USERNAME Eq "a\\"b\\u00e9" AND Active EQ True
emails[type eq "work"].value eq "a@acme.example"
never pr and order eq "and" or notable sw "or"
"""
WRONG = [
    "",
    "userName",
    "userName eq",
    'eq "a"',
    'userName is "a"',
    'userName eq "a',
    "userName eq a",
    "(a pr",
    "a pr)",
]
WRONG += ["a pr and", "not a pr", 'a[b[c eq "d"]]', 'a eq "x" b eq "y"', 'a eq "\\ud800"', 'a eq "\\u0000"', "a eq 01"]
WRONG += ["(" * (MAX_DEPTH + 1) + "a pr" + ")" * (MAX_DEPTH + 1), " or ".join(["a pr"] * (MAX_COMPARISONS + 1))]
WRONG += ["a pr" + " " * MAX_LENGTH + "x"]


@pytest.fixture
def library():
    """Imported here, because importing it takes as long as collecting a quarter of all tests, in each process."""
    import scim2_models

    # A library of this library writes to the console, and nothing else in the portal does.
    logging.getLogger("lark").handlers.clear()
    return scim2_models


def translated(node):
    """The tree of the library in the words of our own."""
    match type(node).__name__:
        case "Comparison":
            return ("is", named(node.attr_path), str(node.op), node.value)
        case "Present":
            return ("is", named(node.attr_path), "pr", None)
        case "Not":
            return ("not", translated(node.expr))
        case "LogicalExpr":
            return (str(node.op), *map(translated, node.terms))
    assert node.sub_attr is None
    return ("having", named(node.attr_path), translated(node.val_filter))


def named(path):
    return ((path.uri or "").lower(), path.attr.lower(), (path.sub_attr or "").lower())


def in_words(found):
    match found:
        case Comparison():
            return ("is", (found.attribute.urn, found.attribute.name, found.attribute.sub), found.operator, found.value)
        case Not():
            return ("not", in_words(found.inner))
        case Both():
            return ("and", *map(in_words, found.terms))
        case Either():
            return ("or", *map(in_words, found.terms))
        case Selection():
            return ("having", (found.attribute.urn, found.attribute.name, found.attribute.sub), in_words(found.inner))


def test_filters_are_parsed_as_the_library_does(library):
    for text in FILTERS.strip().splitlines():
        assert in_words(parse_filter(text)) == translated(library.ScimFilter(text).ast), text


def test_wrong_filters_are_refused():
    for text in WRONG:
        with pytest.raises(Problem) as refused:
            parse_filter(text)
        assert refused.value.scim_type == "invalidFilter", text


def test_paths_are_parsed_as_the_library_does(library):
    for text in ("members", "name.familyName", f'members[value eq "{ID}"]', 'addresses[type eq "work"].streetAddress'):
        path, other = parse_path(text), library.Path(text)
        assert (path.attribute.name, path.attribute.sub) == ((*other.attr.lower().split("."), "")[:2])
        assert (path.selection and in_words(path.selection)) == (
            other.value_filter and translated(other.value_filter)
        ), text
    for text in ("", "a..b", "a[", 'a[b eq "c"', 'a.b[c eq "d"]', 'a eq "b"', "a b"):
        with pytest.raises(Problem) as refused:
            parse_path(text)
        assert refused.value.scim_type == "invalidPath", text


def patched(*operations, role=SiteRole.USER):
    draft = UserDraft(role)
    read_operations(draft, {"Operations": list(operations)})
    return draft.changes(is_whole=False)


USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
# What Entra ID and Okta send, and what it changes.
PATCHES = [
    ([{"op": "Replace", "path": "active", "value": "False"}], {"is_active": False}),
    ([{"op": "replace", "value": {"active": False}}], {"is_active": False}),
    ([{"op": "Add", "path": f"{USER}:userName", "value": "a@acme.example"}], {"email": "a@acme.example"}),
    ([{"op": "Add", "path": 'emails[type eq "work"].value', "value": "b@acme.example"}], {}),
    ([{"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "x"}], {}),
    ([{"op": "Add", "value": {f"{ENTERPRISE}:department": "x", "externalId": "7"}}], {"external_id": "7"}),
    ([{"op": "Add", "value": {"displayName": "Ada", "name.givenName": "Augusta", "title": "Dr."}}], {"name": "Ada"}),
    (
        [
            {"op": "Add", "path": "name.givenName", "value": "Ada"},
            {"op": "Add", "path": "name.familyName", "value": "King"},
        ],
        {"name": "Ada King"},
    ),
    ([{"op": "Add", "path": "name.givenName", "value": "Ada"}], {}),
    ([{"op": "Add", "path": 'roles[primary eq "True"].value', "value": "Power User"}], {"site_role": "power_user"}),
    ([{"op": "replace", "path": "roles", "value": [{"value": "auditor", "primary": True}]}], {"site_role": "auditor"}),
    ([{"op": "remove", "path": 'roles[value eq "user"]'}], {"site_role": "guest"}),
    ([{"op": "remove", "path": 'roles[value eq "auditor"]'}], {}),
    ([{"op": "remove", "path": "externalId"}], {"external_id": ""}),
    ([{"op": "replace", "path": "externalId", "value": None}], {"external_id": ""}),
    ([{"OP": "replace", "PATH": "DISPLAYNAME", "VALUE": "Ada"}], {"name": "Ada"}),
]
REFUSED = [
    ({"op": "delete", "path": "active"}, "invalidSyntax"),
    ({"op": "remove"}, "noTarget"),
    ({"op": "remove", "path": "userName"}, "mutability"),
    ({"op": "replace", "path": "groups", "value": []}, "mutability"),
    ({"op": "replace", "path": "id", "value": ID}, "mutability"),
    ({"op": "replace", "path": "activ", "value": True}, "invalidPath"),
    ({"op": "replace", "path": "urn:example:other:active", "value": True}, "invalidPath"),
    ({"op": "replace", "path": "active", "value": "no"}, "invalidValue"),
    ({"op": "replace", "path": "active", "value": 0}, "invalidValue"),
    ({"op": "replace", "path": "displayName", "value": "a\0b"}, "invalidValue"),
    ({"op": "replace", "path": "displayName", "value": ["Ada"]}, "invalidValue"),
    ({"op": "replace", "path": "roles", "value": ["owner"]}, "invalidValue"),
    ({"op": "replace", "path": "roles", "value": ["user", "guest"]}, "invalidValue"),
    ({"op": "replace", "path": 'roles[value eq "auditor"].value', "value": "user"}, "noTarget"),
    ({"op": "replace", "value": "active"}, "invalidValue"),
    ({"op": "replace", "path": 5, "value": True}, "invalidPath"),
    ("replace", "invalidSyntax"),
]


def test_operations_of_providers_are_understood():
    for operations, expected in PATCHES:
        assert patched(*operations) == expected, operations


def test_wrong_operations_are_refused():
    for operation, word in REFUSED:
        with pytest.raises(Problem) as refused:
            patched(operation)
        assert refused.value.scim_type == word, operation


def test_operations_on_members_are_collected_in_their_order():
    def of(*operations):
        draft = GroupDraft()
        read_operations(
            draft, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [*operations]}
        )
        return draft.replaced, {str(pk) for pk in draft.added}, {str(pk) for pk in draft.removed}

    add = {"op": "Add", "path": "members", "value": [{"value": ID}]}
    by_filter = {"op": "remove", "path": f'members[value eq "{ID}"]'}
    # Entra ID.
    by_value = {"op": "Remove", "path": "members", "value": [{"value": ID}]}
    assert of(add) == (None, {ID}, set())
    assert of(add, by_filter) == of(by_filter) == of(by_value) == (None, set(), {ID})
    assert of(by_filter, {"op": "add", "value": {"members": [{"value": ID}]}}) == (None, {ID}, set())
    assert of(add, {"op": "remove", "path": "members"}) == (set(), set(), set())
    assert of({"op": "replace", "path": "members", "value": []}, add) == (set(), {ID}, set())
    for wrong in ({"value": "x"}, {"type": "Group", "value": ID}, {}, [], [ID], 5):
        with pytest.raises(Problem):
            of({"op": "add", "path": "members", "value": [wrong]})
    with pytest.raises(Problem):
        of({"op": "replace", "path": f'members[value eq "{ID}"].display', "value": "x"})


def test_resource_must_name_its_schema_and_only_known_attributes():
    draft = UserDraft()
    read_resource(draft, {"schemas": [USER, ENTERPRISE], "id": "x", "userName": "a@acme.example", ENTERPRISE: {"a": 1}})
    assert draft.changes(is_whole=True) == {"email": "a@acme.example"}
    for body in ({"schemas": ["urn:x"]}, {"schemas": USER}, {"usrName": "a@acme.example"}, {"name": "Ada"}):
        with pytest.raises(Problem):
            read_resource(UserDraft(), body)
