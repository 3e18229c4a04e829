"""The organization's undelivered mails."""

from django.db.models import QuerySet
from django_tables2 import SingleTableView

from accounts.querysets import undelivered_mails_readable_by
from accounts.roles import Ability
from accounts.tables import MailTable
from accounts.views.base import OrganizationPageMixin
from core.models import OutgoingMail


class MailListView(OrganizationPageMixin, SingleTableView):
    """Mails to people of the organization that have not been delivered yet."""

    ability = Ability.MANAGE_ORGANIZATION
    table_class = MailTable
    template_name = "accounts/organization_mail_list.html"
    current_tab = "accounts:organization_mail_list"

    def get_queryset(self) -> QuerySet[OutgoingMail]:
        return undelivered_mails_readable_by(self.person)
