"""The addresses of SCIM below `/scim/v2/`."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.api.views import found_all, may_manage
from accounts.models import Group, User
from accounts.scim import resources, schemas
from accounts.scim.changes import GroupDraft, UserDraft, read_operations, read_resource
from accounts.scim.conditions import condition_for
from accounts.scim.formats import ScimParser, ScimRenderer
from accounts.scim.problems import InvalidFilter, InvalidSyntax, InvalidValue
from accounts.scim.resources import Choice
from core.api.etags import seen_by, with_etag
from core.api.operations import PROVISION, Operation
from core.api.parsers import StrictJSONParser
from core.api.problems import Forbidden
from core.api.renderers import OneEncoderRenderer
from core.api.views import ApiViewSet
from core.errors import DomainError
from core.text import Text

# Members in one answer. A list has fewer groups than requested if they have more members than this together.
MOST_MEMBERS = 10_000
# What the services call them.
_NAMES = {"email": "userName", "name": "displayName", "site_role": "roles", "external_id": "externalId"}


def reads(label: Text) -> Operation:
    return Operation(label, PROVISION, only_reads=True, role_allows=may_manage)


def changes(label: Text) -> Operation:
    return Operation(label, PROVISION, role_allows=may_manage)


class ScimViewSet(ApiViewSet):
    """A view of the API that speaks SCIM. It is not in the OpenAPI schema: `/Schemas` describes it to SCIM clients."""

    schema = None
    renderer_classes = [ScimRenderer, OneEncoderRenderer]
    parser_classes = [ScimParser, StrictJSONParser]

    def _check_query(self, request: Request) -> None:
        """Clients add parameters of their own, such as Entra ID its `aadOptscim062020`. They are ignored."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, ValidationError) and hasattr(exc, "error_dict"):
            exc = ValidationError({_NAMES.get(name, name): texts for name, texts in exc.message_dict.items()})
        return super().handle_exception(exc)

    def get_object(self) -> Any:
        """RFC 7644 section 3.12 wants 404, also for what the caller may not see."""
        found = self.get_queryset().filter(pk=self.kwargs["pk"]).first()
        if found is None:
            raise NotFound("There is no such resource.")
        return found

    @property
    def body(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.request.data)

    @property
    def choice(self) -> Choice:
        asked = self.request.query_params
        return Choice(_listed(asked.get("attributes")), _listed(asked.get("excludedAttributes")))

    def answer(self, resource: Mapping[str, Any], status: int = 200) -> Response:
        """The parts of the resource that the client wants, with its address and its version as headers."""
        meta = resource["meta"]
        headers = {"Location": meta["location"]}
        version = meta.get("version")
        if version and status == 200 and self.request.method == "GET" and _is_known(self.request, version):
            return Response(status=304, headers={"ETag": version})
        response = Response(self.choice.of(resource), status=status, headers=headers)
        return with_etag(response, version.strip('"')) if version else response


class Asked:
    """The parameters of a list, from the address or from the body of a search (RFC 7644 sections 3.4.2 and 3.4.3)."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.filter = asked.get("filter") or ""
        if not isinstance(self.filter, str):
            raise InvalidFilter("filter must be a text.")
        self.start = max(1, _number("startIndex", asked.get("startIndex"), 1))
        self.count = min(schemas.MOST_RESULTS, max(0, _number("count", asked.get("count"), 100)))
        self.choice = Choice(_listed(asked.get("attributes")), _listed(asked.get("excludedAttributes")))

    @classmethod
    def in_body(cls, body: Mapping[str, Any]) -> "Asked":
        named = body.get("schemas")
        if named is not None and named != [schemas.SEARCH]:
            raise InvalidSyntax(f"schemas must be a list with {schemas.SEARCH}.")
        return cls(body)


def _listed(value: Any) -> list[str]:
    """Names with commas in an address, a list in a body."""
    if value is None:
        return []
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidValue("attributes and excludedAttributes are lists of names.")
    return [name for name in names if name.strip()]


def _number(name: str, value: Any, default: int) -> int:
    if value is None or value == "":
        return default
    try:
        # Longer numbers than any database can count to.
        number = int(value) if isinstance(value, str | int) and len(str(value)) < 16 else None
    except ValueError:
        number = None
    if number is None or isinstance(value, bool):
        raise InvalidValue(f"{name} must be a whole number.")
    return number


def _is_known(request: Request, version: str) -> bool:
    sent = request.META.get("HTTP_IF_NONE_MATCH", "")
    return version in {tag.strip().removeprefix("W/") for tag in sent.split(",")}


def people_for(person: User) -> QuerySet[User]:
    """People whom SCIM shows to this person: not those whom it deleted, and no service accounts."""
    people: QuerySet[User] = User.objects.people().of_organization_readable_by(person).provisioned()
    return people


def _people_in(rows: QuerySet[User], choice: Choice) -> list[dict[str, Any]]:
    if choice.has("groups"):
        rows = rows.prefetch_related("member_groups")
    return [resources.of_user(user, choice) for user in rows]


def _groups_in(rows: QuerySet[Group], choice: Choice) -> list[dict[str, Any]]:
    if not choice.has("members"):
        return [resources.of_group(group, choice, ()) for group in rows]
    members: dict[UUID, list[UUID]] = {}
    shown: list[Group] = []
    total = 0
    for group in rows.annotate(member_count=Count("members")):
        total += group.member_count
        if shown and total > MOST_MEMBERS:
            break
        shown.append(group)
    memberships = Group.members.through._default_manager.filter(
        group_id__in=[group.pk for group in shown], user__is_service_account=False
    )
    for group_id, user_id in memberships.order_by("pk").values_list("group_id", "user_id"):
        members.setdefault(group_id, []).append(user_id)
    return [resources.of_group(group, choice, members.get(group.pk, [])) for group in shown]


def _slice(rows: QuerySet[Any], start: int, count: int) -> QuerySet[Any]:
    return rows.order_by("created_at", "pk")[start - 1 : start - 1 + count]


def _list_response(found: list[dict[str, Any]], total: int, asked: Asked) -> Response:
    return Response(
        {
            "schemas": [schemas.LIST],
            "totalResults": total,
            "startIndex": asked.start,
            "itemsPerPage": len(found),
            "Resources": [asked.choice.of(resource) for resource in found],
        }
    )


class UserScimViewSet(ScimViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": reads(_("SCIM: list people")),
        "search": reads(_("SCIM: search people")),
        "create": changes(_("SCIM: create a person")),
        "retrieve": reads(_("SCIM: see a person")),
        "update": changes(_("SCIM: replace a person")),
        "partial_update": changes(_("SCIM: change a person")),
        "destroy": changes(_("SCIM: deactivate a person")),
    }

    def get_queryset(self) -> QuerySet[User]:
        return people_for(self.person)

    def list(self, request: Request) -> Response:
        return self._found(Asked(request.query_params))

    def search(self, request: Request) -> Response:
        return self._found(Asked.in_body(self.body))

    def create(self, request: Request) -> Response:
        draft = UserDraft()
        read_resource(draft, self.body)
        given = draft.changes(is_whole=True)
        if not given.get("email"):
            raise InvalidValue("userName is required: the person's e-mail address.")
        given.setdefault("name", given["email"].partition("@")[0])
        user = services.provision_user(actor=self.person, request=request._request, **given)
        return self._shown(user, 201)

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return self._shown(self.get_object())

    def update(self, request: Request, pk: UUID) -> Response:
        """Attributes that the body leaves out stay as they are (RFC 7644 section 3.5.1 allows it): identity providers
        leave out the role, and nobody should lose theirs by that."""
        user = self.get_object()
        draft = UserDraft(user.site_role)
        read_resource(draft, self.body)
        given = draft.changes(is_whole=True)
        if not given.get("email"):
            raise InvalidValue("userName is required: the person's e-mail address.")
        return self._changed(user, given)

    def partial_update(self, request: Request, pk: UUID) -> Response:
        user = self.get_object()
        draft = UserDraft(user.site_role)
        read_operations(draft, self.body)
        return self._changed(user, draft.changes(is_whole=False))

    def destroy(self, request: Request, pk: UUID) -> Response:
        """People stay in the portal, because logs name them; for SCIM they are gone."""
        services.deprovision_user(
            actor=self.person, user=self.get_object(), seen=seen_by(request), request=request._request
        )
        return Response(status=204)

    def _changed(self, user: User, given: dict[str, Any]) -> Response:
        request = self.request
        if given.get("is_active") == user.is_active:
            del given["is_active"]
        if user.role_is_managed:
            # The rules of single sign-on decide about it.
            given.pop("site_role", None)
        with transaction.atomic():
            changed = self._change_or_deactivate(user, given)
            if given.get("is_active"):
                services.invite_if_needed(actor=self.person, user=changed, request=request._request)
        return self._shown(changed)

    def _change_or_deactivate(self, user: User, given: dict[str, Any]) -> User:
        """Deactivates a person also if something else in the body is refused, such as an address that is taken."""

        def change(**fields: Any) -> User:
            return services.change_user(
                actor=self.person, user=user, seen=seen_by(self.request), request=self.request._request, **fields
            )

        if given.get("is_active") is not False:
            return change(**given)
        try:
            return change(**given)
        except (DomainError, ValidationError):
            # Raises again if the deactivation itself is refused.
            return change(is_active=False)

    def _found(self, asked: Asked) -> Response:
        rows = self.get_queryset()
        if asked.filter:
            rows = rows.filter(condition_for(User, asked.filter))
        return _list_response(_people_in(_slice(rows, asked.start, asked.count), asked.choice), rows.count(), asked)

    def _shown(self, user: User, status: int = 200) -> Response:
        return self.answer(resources.of_user(user, self.choice), status)


class GroupScimViewSet(ScimViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": reads(_("SCIM: list groups")),
        "search": reads(_("SCIM: search groups")),
        "create": changes(_("SCIM: create a group")),
        "retrieve": reads(_("SCIM: see a group")),
        "update": changes(_("SCIM: replace a group")),
        "partial_update": changes(_("SCIM: change a group")),
        "destroy": changes(_("SCIM: delete a group")),
    }

    def get_queryset(self) -> QuerySet[Group]:
        return Group.objects.readable_by(self.person)

    def list(self, request: Request) -> Response:
        return self._found(Asked(request.query_params))

    def search(self, request: Request) -> Response:
        return self._found(Asked.in_body(self.body))

    def create(self, request: Request) -> Response:
        draft = self._draft()
        if "name" not in draft.changes:
            raise InvalidValue("displayName is required.")
        group = services.create_group(
            actor=self.person,
            members=self._people(draft.replaced or set()),
            request=request._request,
            **draft.changes,
        )
        return self._shown(group, 201)

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return self._shown(self.get_object())

    def update(self, request: Request, pk: UUID) -> Response:
        return self._changed(self.get_object(), self._draft())

    def partial_update(self, request: Request, pk: UUID) -> Response:
        group, draft = self.get_object(), GroupDraft()
        read_operations(draft, self.body)
        return self._changed(group, draft)

    def destroy(self, request: Request, pk: UUID) -> Response:
        services.delete_group(actor=self.person, group=self.get_object(), request=request._request)
        return Response(status=204)

    def _draft(self) -> GroupDraft:
        draft = GroupDraft()
        read_resource(draft, self.body)
        return draft

    def _changed(self, group: Group, draft: GroupDraft) -> Response:
        request = self.request
        changed = services.change_group(
            actor=self.person,
            group=group,
            members=None if draft.replaced is None else self._people(draft.replaced),
            # They are no people of the identity provider.
            keeps_service_accounts=True,
            added=self._people(draft.added),
            # People who are gone are no members anyway.
            removed=people_for(self.person).filter(pk__in=draft.removed),
            seen=seen_by(request),
            request=request._request,
            **draft.changes,
        )
        return self._shown(changed)

    def _people(self, wanted: set[UUID]) -> Any:
        return found_all(people_for(self.person), [*wanted], "members") if wanted else []

    def _found(self, asked: Asked) -> Response:
        rows = self.get_queryset()
        if asked.filter:
            rows = rows.filter(condition_for(Group, asked.filter))
        return _list_response(_groups_in(_slice(rows, asked.start, asked.count), asked.choice), rows.count(), asked)

    def _shown(self, group: Group, status: int = 200) -> Response:
        [resource] = _groups_in(Group.objects.filter(pk=group.pk), self.choice)
        return self.answer(resource, status)


class SearchScimViewSet(ScimViewSet):
    operations: ClassVar[dict[str, Operation]] = {"search": reads(_("SCIM: search people and groups"))}
    queryset = User.objects.none()

    def search(self, request: Request) -> Response:
        """People first, then groups."""
        asked = Asked.in_body(self.body)
        people, groups = people_for(self.person), Group.objects.readable_by(self.person)
        if asked.filter:
            people = people.filter(condition_for(User, asked.filter, among_others=True))
            groups = groups.filter(condition_for(Group, asked.filter, among_others=True))
        number = people.count()
        found = _people_in(_slice(people, asked.start, asked.count), asked.choice)
        if left := asked.count - len(found):
            found += _groups_in(_slice(groups, max(1, asked.start - number), left), asked.choice)
        return _list_response(found, number + groups.count(), asked)


class DiscoveryScimViewSet(ScimViewSet):
    """What the portal supports, the same for everyone."""

    operations: ClassVar[dict[str, Operation]] = {
        "config": reads(_("SCIM: see what is supported")),
        "resource_types": reads(_("SCIM: list kinds of resources")),
        "resource_type": reads(_("SCIM: see a kind of resource")),
        "schemas": reads(_("SCIM: list schemas")),
        "one_schema": reads(_("SCIM: see a schema")),
    }
    queryset = User.objects.none()

    def config(self, request: Request) -> Response:
        return Response(schemas.service_provider_config())

    def resource_types(self, request: Request) -> Response:
        return self._all(schemas.resource_types())

    def resource_type(self, request: Request, key: str) -> Response:
        return self._one(schemas.resource_types(), key)

    def schemas(self, request: Request) -> Response:
        return self._all(schemas.schemas())

    def one_schema(self, request: Request, key: str) -> Response:
        return self._one(schemas.schemas(), key)

    def _all(self, found: list[dict[str, Any]]) -> Response:
        if "filter" in self.request.query_params:
            # RFC 7644 section 4.
            raise Forbidden
        return _list_response(found, len(found), Asked({}))

    def _one(self, found: list[dict[str, Any]], key: str) -> Response:
        for each in found:
            if each["id"].lower() == key.lower():
                return Response(each)
        raise NotFound("There is no such resource.")
