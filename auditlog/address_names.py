"""The host names of addresses in the logs, from reverse DNS, if the operator asks for them (``REVERSE_DNS``).

The worker asks in the background, so that no page and no request waits for a DNS server. The owner of an address can
make its reverse DNS say anything, so a name counts only if it leads back to the address.
"""

import ipaddress
import re
import threading
from collections.abc import Iterable
from datetime import date, timedelta

import dns.exception
import dns.resolver
from django.conf import settings
from django.utils import timezone

from auditlog.models import Activity, AddressName
from core.db.sqlite_turns import job_transaction
from core.db.unreadable import UNREADABLE

EVERY = timedelta(minutes=1)
# Names change seldom. An answer that could not be had may come soon.
ASK_AGAIN_AFTER = timedelta(days=7)
TRY_AGAIN_AFTER = timedelta(hours=1)
# An old name would say little about an address that nobody has used for so long.
FORGET_AFTER = timedelta(days=90)
PATIENCE_SECONDS = 2.0
# An address can have many names.
NAMES_TRIED = 3
AT_ONCE = 200
ACTIVITY_READ = 1_000
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?")


def names_of(ips: Iterable[str | None]) -> dict[str, str]:
    """The known names by address. Empty if the operator did not ask for them."""
    if not settings.REVERSE_DNS:
        return {}
    try:
        return dict(AddressName.objects.filter(ip__in=set(ips) - {None}).exclude(name="").values_list("ip", "name"))
    except UNREADABLE:
        return {}


def name_of(ip: str | None) -> str:
    """The known name of one address; empty if there is none."""
    return names_of([ip]).get(ip or "", "")


def note(ips: Iterable[str | None]) -> None:
    """Remembers that these addresses were used, so that `look_up_due` asks for their names."""
    if not settings.REVERSE_DNS:
        return
    used, today = set(filter(_is_address, ips)), _today()
    used -= set(AddressName.objects.filter(ip__in=used, seen_on=today).values_list("ip", flat=True))
    if used:
        with job_transaction():
            AddressName.objects.bulk_create(
                [AddressName(ip=ip, seen_on=today) for ip in sorted(map(str, used))],
                update_conflicts=True,
                unique_fields=["ip"],
                update_fields=["seen_on"],
            )


def look_up_due(stopping: threading.Event) -> None:
    """Looks up the names that are not known yet, and those of a week ago again. Stops between two addresses."""
    note(Activity.objects.order_by("-id").values_list("ip", flat=True)[:ACTIVITY_READ])
    with job_transaction():
        AddressName.objects.filter(seen_on__lt=_today() - FORGET_AFTER).delete()
    due = AddressName.objects.filter(look_up_at__lte=timezone.now()).order_by("look_up_at")
    for ip in list(due.values_list("ip", flat=True)[:AT_ONCE]):
        if stopping.is_set():
            return
        _store(ip, host_name_of(ip))


def host_name_of(ip: str) -> str | None:
    """The name that reverse DNS has for the address and that leads back to it. Empty if there is none, ``None`` if no
    server could tell."""
    try:
        resolver = dns.resolver.Resolver()
        found = resolver.resolve_address(ip, lifetime=PATIENCE_SECONDS)
        names = [record.target.to_text(omit_final_dot=True).lower() for record in found][:NAMES_TRIED]
        return next((name for name in names if _HOST_NAME.fullmatch(name) and _leads_to(name, ip, resolver)), "")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ""
    except dns.exception.DNSException:
        return None


def _leads_to(name: str, ip: str, resolver: dns.resolver.Resolver) -> bool:
    try:
        addresses = resolver.resolve_name(name, lifetime=PATIENCE_SECONDS).addresses()
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return False
    return ipaddress.ip_address(ip) in set(map(ipaddress.ip_address, addresses))


def _store(ip: str, name: str | None) -> None:
    now = timezone.now()
    with job_transaction():
        row = AddressName.objects.filter(ip=ip)
        if name is None:
            row.update(look_up_at=now + TRY_AGAIN_AFTER)
        else:
            row.update(name=name, look_up_at=now + ASK_AGAIN_AFTER)


def _is_address(ip: str | None) -> bool:
    """Also false for a stored text that somebody has changed."""
    try:
        return isinstance(ip, str) and bool(ipaddress.ip_address(ip))
    except ValueError:
        return False


def _today() -> date:
    return timezone.now().date()
