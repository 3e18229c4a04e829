"""The API for people and groups of the organization, with the same querysets, filters and services as the pages."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.db.models import QuerySet, prefetch_related_objects
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import seen, services
from accounts.api.serializers import (
    ChangeGroupBody,
    ChangePreferencesBody,
    ChangeUserBody,
    CreateGroupBody,
    EndedSerializer,
    EndSessionsBody,
    EraseUserBody,
    GroupDetailSerializer,
    GroupSerializer,
    InviteUserBody,
    MarkedSerializer,
    MarkReadBody,
    NotificationSerializer,
    OrganizationMailSerializer,
    PreferencesSerializer,
    SessionSerializer,
    UserSerializer,
)
from accounts.filters import GroupFilter, NotificationFilter, UserFilter
from accounts.models import NEWEST_NOTIFICATIONS_FIRST, Group, Notification, User
from accounts.notifications import reading
from accounts.privileges import Privilege
from accounts.querysets import undelivered_mails_readable_by
from accounts.roles import Ability
from accounts.security import credentials, sessions
from core.api.etags import seen_by, with_etag
from core.api.operations import CHANGE_API, READ_API, Operation
from core.api.paging import KeysetPagination, WholeList
from core.api.views import ApiViewSet
from core.db.keyset import Keyset
from core.models import OutgoingMail

BY_EMAIL = Keyset(("email", "id"), descending=False)
BY_NAME = Keyset(("name", "id"), descending=False)
NEWEST_MAIL_FIRST = Keyset(("created_at", "id"), descending=True)


def may_read(user: User) -> bool:
    return user.may(Ability.READ_USERS)


def may_manage(user: User) -> bool:
    return user.may(Ability.MANAGE_ORGANIZATION)


def may_manage_groups(user: User) -> bool:
    return user.may(Ability.MANAGE_GROUPS)


class UserViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List people"), READ_API, only_reads=True, role_allows=may_read),
        "create": Privilege.INVITE.operation(role_allows=may_manage),
        "retrieve": Operation(_("See a person"), READ_API, only_reads=True, role_allows=may_read, has_etag=True),
        # A token can only deactivate. The service requires proof for a role and an activation.
        "partial_update": Operation(
            _("Change a person's role or state"),
            CHANGE_API,
            role_allows=may_manage,
            limited_to=_("Deactivate a person"),
            has_etag=True,
        ),
        "invitation": Privilege.INVITE_AGAIN.operation(role_allows=may_manage),
        "erase": Privilege.ERASE_PERSON.operation(role_allows=may_manage),
        "reset_two_factor": Privilege.RESET_TWO_FACTOR.operation(role_allows=may_manage),
    }
    serializer_class = UserSerializer
    filterset_class = UserFilter
    pagination_class = KeysetPagination
    keyset = BY_EMAIL

    def get_queryset(self) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.people().of_organization_readable_by(self.person).for_user_table()
        return users

    @extend_schema(operation_id="user_list")
    def list(self, request: Request) -> Response:
        """Everyone in the organization, by e-mail address."""
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="user_invite", request=InviteUserBody, responses={201: UserSerializer})
    def create(self, request: Request) -> Response:
        """Invites a person. They get a mail with a link to choose a password."""
        body = self.read_body(InviteUserBody)
        groups = found_all(Group.objects.readable_by(self.person), body.pop("groups"), "groups")
        user = services.invite_user(actor=self.person, groups=groups, request=request._request, **body)
        return self._user(user, status=201)

    @extend_schema(operation_id="user_retrieve", responses=UserSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._shown(self.get_object())

    @extend_schema(operation_id="user_change", request=ChangeUserBody, responses=UserSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes a person's site role, activates or deactivates them. It applies from the next request on.

        A token can only send `{"is_active": false}`. For a role or an activation you must have proved who you are
        within the last 15 minutes; otherwise the answer is 403 with the code `reauthentication_required`. If any part
        of the body is refused, nothing is changed. You can't remove the last active Administrator: 409.
        """
        user = self.get_object()
        body = self.read_body(ChangeUserBody)
        services.change_user(actor=self.person, user=user, seen=seen_by(request), request=request._request, **body)
        return self._user(user)

    @extend_schema(operation_id="user_invitation", request=None, responses=UserSerializer)
    def invitation(self, request: Request, pk: str) -> Response:
        """Sends the invitation again to a person who has not chosen a password yet."""
        user = services.send_invitation(actor=self.person, user=self.get_object(), request=request._request)
        return self._user(user)

    @extend_schema(operation_id="user_erase", request=EraseUserBody, responses=UserSerializer)
    def erase(self, request: Request, pk: str) -> Response:
        """Replaces the name and the address of a deactivated person by a pseudonym, for good.

        `confirm` is the person's address. The worker replaces the copies in both logs and in runs. 409 if the person is
        active, or still owns pipelines: `detail` names them.
        """
        user = self.get_object()
        body = self.read_body(EraseUserBody)
        return self._user(services.erase_person(actor=self.person, user=user, request=request._request, **body))

    @extend_schema(operation_id="user_two_factor_reset", request=None, responses=UserSerializer)
    def reset_two_factor(self, request: Request, pk: str) -> Response:
        """Removes the second factors of a person who lost theirs, and signs them out everywhere. Not for yourself."""
        user = services.reset_two_factor(actor=self.person, user=self.get_object(), request=request._request)
        return self._user(user)

    def _user(self, user: User, status: int = 200) -> Response:
        """The person as they are now, also for actors who gave up their own role and can no longer see anybody."""
        return self._shown(User.objects.for_user_table().get(pk=user.pk), status)

    def _shown(self, user: User, status: int = 200) -> Response:
        return with_etag(Response(UserSerializer(user).data, status=status), seen.of_user(user))


class MailViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List mails that were not delivered"), READ_API, only_reads=True, role_allows=may_manage),
    }
    serializer_class = OrganizationMailSerializer
    pagination_class = KeysetPagination
    keyset = NEWEST_MAIL_FIRST

    def get_queryset(self) -> QuerySet[OutgoingMail]:
        return undelivered_mails_readable_by(self.person)

    @extend_schema(operation_id="organization_mail_list")
    def list(self, request: Request) -> Response:
        """Mails to people in the organization that have not been delivered yet, newest first."""
        return self.page_of(self.get_queryset())


class GroupViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List groups"), READ_API, only_reads=True, role_allows=may_read),
        "create": Operation(_("Create a group"), CHANGE_API, role_allows=may_manage_groups),
        "retrieve": Operation(_("See a group"), READ_API, only_reads=True, role_allows=may_read, has_etag=True),
        "partial_update": Operation(_("Change a group"), CHANGE_API, role_allows=may_manage_groups, has_etag=True),
        "destroy": Operation(_("Delete a group"), CHANGE_API, role_allows=may_manage_groups),
    }
    serializer_class = GroupSerializer
    filterset_class = GroupFilter
    pagination_class = KeysetPagination
    keyset = BY_NAME

    def get_queryset(self) -> QuerySet[Group]:
        return Group.objects.readable_by(self.person)

    @extend_schema(operation_id="group_list")
    def list(self, request: Request) -> Response:
        """The organization's groups, by name."""
        return self.page_of(Group.objects.readable_by(self.person).for_group_table())

    @extend_schema(operation_id="group_create", request=CreateGroupBody, responses={201: GroupDetailSerializer})
    def create(self, request: Request) -> Response:
        body = self.read_body(CreateGroupBody)
        members = self._people(body["members"])
        group = services.create_group(actor=self.person, name=body["name"], members=members, request=request._request)
        return self._group(group, status=201)

    @extend_schema(operation_id="group_retrieve", responses=GroupDetailSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._group(self.get_object())

    @extend_schema(operation_id="group_change", request=ChangeGroupBody, responses=GroupDetailSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Renames the group, replaces its members, or both. It applies from the next request on."""
        group = self.get_object()
        body = self.read_body(ChangeGroupBody)
        members = self._people(body["members"]) if "members" in body else None
        changed = services.change_group(
            actor=self.person,
            group=group,
            name=body.get("name"),
            members=members,
            seen=seen_by(request),
            request=request._request,
        )
        return self._group(changed)

    @extend_schema(operation_id="group_delete", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes the group.

        Refused while an access rule uses it, because without that rule the pipeline could be open to everyone.
        """
        services.delete_group(actor=self.person, group=self.get_object(), request=request._request)
        return Response(status=204)

    def _group(self, group: Group, status: int = 200) -> Response:
        # Read once for the answer and its ETag.
        prefetch_related_objects([group], "members")
        return with_etag(Response(GroupDetailSerializer(group).data, status=status), seen.of_group(group))

    def _people(self, ids: Sequence[UUID]) -> Sequence[User]:
        return found_all(User.objects.of_organization_readable_by(self.person), ids, "members")


class SessionViewSet(ApiViewSet):
    """My sessions. Closed to tokens: they can neither list nor end sessions."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List my sessions"), only_reads=True),
        "end": Privilege.END_SESSION.operation(),
        "end_all": Privilege.END_ALL_SESSIONS.operation(),
    }
    serializer_class = SessionSerializer
    pagination_class = WholeList

    def get_queryset(self) -> QuerySet[UserSession]:
        return sessions.live_sessions(self.person)

    @extend_schema(operation_id="session_list", responses=SessionSerializer(many=True))
    def list(self, request: Request) -> Response:
        """My live sessions, the last used first."""
        return self.page_of([sessions.as_row(session, request._request) for session in self.get_queryset()])

    @extend_schema(operation_id="session_end", request=None, responses={204: None})
    def end(self, request: Request, pk: int) -> Response:
        """Ends one of my sessions at once."""
        sessions.end_session(actor=self.person, session=self.get_object(), request=request._request)
        return Response(status=204)

    @extend_schema(operation_id="session_end_all", request=EndSessionsBody, responses=EndedSerializer)
    def end_all(self, request: Request) -> Response:
        """Ends all my other sessions at once; optionally also this one, and all my tokens."""
        body = self.read_body(EndSessionsBody)
        ended = credentials.sign_out_everywhere(actor=self.person, request=request._request, **body)
        return Response(EndedSerializer(ended).data)


class PreferencesViewSet(ApiViewSet):
    """My own preferences."""

    operations: ClassVar[dict[str, Operation]] = {
        "retrieve": Operation(_("See my preferences"), READ_API, only_reads=True),
        # Closed to tokens: a thief could switch off the mails that warn the owner.
        "partial_update": Operation(_("Change my preferences")),
    }
    serializer_class = PreferencesSerializer
    queryset = User.objects.none()

    @extend_schema(operation_id="preferences", responses=PreferencesSerializer)
    def retrieve(self, request: Request) -> Response:
        """What I am told and where, and the language and the time zone of pages and mails."""
        return Response(PreferencesSerializer(self.person).data)

    @extend_schema(operation_id="preferences_change", request=ChangePreferencesBody, responses=PreferencesSerializer)
    def partial_update(self, request: Request) -> Response:
        """Changes the given ones, from the next page and the next mail on."""
        body = self.read_body(ChangePreferencesBody)
        person = services.set_preferences(actor=self.person, request=request._request, **body)
        return Response(PreferencesSerializer(person).data)


class NotificationViewSet(ApiViewSet):
    """My own notifications, as on the page."""

    operations: ClassVar[dict[str, Operation]] = {
        "list": Operation(_("List my notifications"), READ_API, only_reads=True),
        # Closed to tokens: a thief could hide what warns the owner.
        "mark_read": Operation(_("Mark my notifications as read")),
    }
    serializer_class = NotificationSerializer
    filterset_class = NotificationFilter
    pagination_class = KeysetPagination
    keyset = NEWEST_NOTIFICATIONS_FIRST

    def get_queryset(self) -> QuerySet[Notification]:
        return Notification.objects.of(self.person)

    @extend_schema(operation_id="notification_list")
    def list(self, request: Request) -> Response:
        """What I was told in the portal, newest first."""
        return self.page_of(self.get_queryset())

    @extend_schema(operation_id="notification_mark_read", request=MarkReadBody, responses=MarkedSerializer)
    def mark_read(self, request: Request) -> Response:
        """Marks these as read, or one and all older ones."""
        body = self.read_body(MarkReadBody)
        mark = reading.mark_read_until if "until" in body else reading.mark_read
        return Response({"marked": mark(actor=self.person, **body)})


def found_all(rows: QuerySet[Any], ids: Sequence[UUID], field: str) -> Sequence[Any]:
    """The rows with these ids. The same error for ids that don't exist and for those of another organization."""
    found = list(rows.filter(pk__in=ids))
    if len(found) != len(set(ids)):
        raise ValidationError({field: ["Not all of these exist in your organization."]})
    return found
