"""Host names of addresses: only if the operator asks for them, only names that lead back, and never during a request.

A DNS server on the loopback network answers with the records of each test.
"""

import socket
import threading
from datetime import timedelta

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename
import dns.rrset
import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from auditlog import address_names, counting, jobs
from auditlog.models import AddressName
from auditlog.tests.entries import action
from auditlog.tests.test_logs import use
from core import periodic_jobs
from tokens.tests.factories import TokenFactory

IP, IPV6 = "192.0.2.7", "2001:db8::7"
NAME = "ci-7.example.com"


class DnsServer:
    """Answers over UDP from ``records``: by name and type, a list of values, or the code of an error."""

    def __init__(self):
        self.records, self.asked = {}, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            packet, caller = self.socket.recvfrom(4096)
            if not packet:
                return
            self.socket.sendto(self.answer(dns.message.from_wire(packet)).to_wire(), caller)

    def answer(self, query):
        [question] = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        found = self.records.get((name, kind), [])
        if isinstance(found, dns.rcode.Rcode):
            answer.set_rcode(found)
        elif found:
            answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, found))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def name(self, ip, name, *, leads_to=None):
        """The address has this name, and the name leads to ``leads_to``, usually the same address."""
        reverse_name = dns.reversename.from_address(ip).to_text(omit_final_dot=True)
        self.records[reverse_name, "PTR"] = [f"{name}."]
        leads_to = ip if leads_to is None else leads_to
        if leads_to:
            self.records[name.lower(), "AAAA" if ":" in leads_to else "A"] = [leads_to]

    def fails_for(self, ip):
        self.records[dns.reversename.from_address(ip).to_text(omit_final_dot=True), "PTR"] = dns.rcode.SERVFAIL

    def stop(self):
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


@pytest.fixture
def server(monkeypatch, settings):
    """Host names are looked up, with this server."""
    settings.REVERSE_DNS = True
    running = DnsServer()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = running.socket.getsockname()[1]
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: resolver)
    yield running
    running.stop()


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner)


def count():
    for _ in counting.count_due():
        pass


def look_up():
    address_names.look_up_due(threading.Event())


@pytest.mark.each_database
@pytest.mark.parametrize("ip", [IP, IPV6])
def test_name_of_a_used_address_is_looked_up_once_a_week(server, token, ip):
    server.name(ip, NAME)
    use(token, timezone.now(), ip=ip)
    count()
    assert address_names.names_of([ip]) == {}

    look_up()
    assert address_names.names_of([ip, None]) == {ip: NAME}

    asked = len(server.asked)
    look_up()
    assert len(server.asked) == asked
    with time_machine.travel(timezone.now() + timedelta(days=7, minutes=1)):
        server.name(ip, "new.example.com")
        look_up()
        assert address_names.names_of([ip]) == {ip: "new.example.com"}


@pytest.mark.each_database
def test_address_of_an_action_is_looked_up(server, organization):
    server.name(IP, NAME)
    action(organization, ip=IP).save()

    look_up()

    assert address_names.names_of([IP]) == {IP: NAME}


@pytest.mark.parametrize(
    ("name", "leads_to"),
    [
        pytest.param("login.example.com", "198.51.100.1", id="leads to another address"),
        pytest.param("nowhere.example.com", "", id="leads nowhere"),
        pytest.param("<b>x</b>.example.com", IP, id="is no host name"),
        pytest.param("a\\032b.example.com", IP, id="has a space"),
    ],
)
def test_name_that_is_not_proved_is_not_stored(server, name, leads_to):
    server.name(IP, name, leads_to=leads_to)

    assert address_names.host_name_of(IP) == ""


def test_proved_name_is_stored_in_lower_case(server):
    server.name(IP, "CI-7.Example.COM")

    assert address_names.host_name_of(IP) == NAME


def test_address_without_a_name_is_looked_up_again_after_a_week(server, token):
    use(token, timezone.now(), ip=IP)
    count()

    look_up()

    row = AddressName.objects.get()
    assert row.name == ""
    assert row.look_up_at > timezone.now() + timedelta(days=6)


def test_name_stays_while_no_server_can_tell_and_is_looked_up_again_after_an_hour(server, token):
    server.name(IP, NAME)
    use(token, timezone.now(), ip=IP)
    count()
    look_up()
    AddressName.objects.update(look_up_at=timezone.now())
    server.fails_for(IP)

    look_up()

    assert address_names.names_of([IP]) == {IP: NAME}
    assert AddressName.objects.get().look_up_at < timezone.now() + timedelta(hours=2)


def test_machine_without_dns_servers_stops_no_job(monkeypatch, token, settings):
    settings.REVERSE_DNS = True

    def unconfigured():
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", unconfigured)
    use(token, timezone.now(), ip=IP)
    count()

    look_up()

    assert address_names.names_of([IP]) == {}


@pytest.mark.each_database
def test_address_that_nobody_uses_any_more_is_forgotten(server, token):
    use(token, timezone.now(), ip=IP)
    count()

    with time_machine.travel(timezone.now() + timedelta(days=91)):
        use(token, timezone.now(), ip=IPV6)
        count()
        look_up()

    assert [row.ip for row in AddressName.objects.all()] == [IPV6]


def test_looking_up_stops_between_two_addresses(server, token):
    use(token, timezone.now(), ip=IP)
    count()
    stopping = threading.Event()
    stopping.set()

    address_names.look_up_due(stopping)

    assert server.asked == []


@pytest.mark.parametrize("is_on", [True, False])
def test_worker_looks_names_up_only_if_the_operator_asks_for_it(settings, monkeypatch, is_on):
    monkeypatch.setattr(periodic_jobs, "_registered", {})
    settings.REVERSE_DNS = is_on

    jobs.register()

    assert ("Host names of addresses" in periodic_jobs._registered) == is_on


def test_without_the_setting_nothing_is_noted_or_shown(token, client, owner):
    AddressName.objects.create(ip=IP, name=NAME, seen_on=timezone.now().date())
    use(token, timezone.now(), ip=IPV6)
    use(token, timezone.now(), ip=IP)
    count()
    client.force_login(owner)

    page = client.get(reverse("tokens:token_detail", args=[token.pk])).content.decode()

    assert AddressName.objects.count() == 1
    assert IP in page
    assert NAME not in page


def test_pages_and_api_show_the_name_without_asking_a_server(server, token, client, owner):
    entry = use(token, timezone.now(), ip=IP)
    done = action(owner.organization, ip=IP, actor_id=owner.pk)
    done.save()
    AddressName.objects.create(ip=IP, name=NAME, seen_on=timezone.now().date())
    client.force_login(owner)

    for page in (
        reverse("tokens:token_detail", args=[token.pk]),
        reverse("auditlog:token_use_detail", args=[entry.request_id]),
        reverse("auditlog:activity_detail", args=[done.public_id]),
    ):
        assert NAME in client.get(page).content.decode(), page
    used = client.get(f"/api/v1/tokens/{token.pk}/usage").json()
    assert [(address["ip"], address["host_name"]) for address in used["addresses"]] == [(IP, NAME)]
    for entry_path in (f"me/authentication-log/{entry.request_id}", f"me/activity-log/{done.public_id}"):
        assert client.get(f"/api/v1/{entry_path}").json()["host_name"] == NAME
    assert server.asked == []


def test_entry_without_an_address_has_no_name(server, token, client, owner):
    entry = use(token, timezone.now(), ip=None)
    client.force_login(owner)

    assert client.get(f"/api/v1/me/authentication-log/{entry.request_id}").json()["host_name"] is None
    assert client.get(reverse("auditlog:token_use_detail", args=[entry.request_id])).status_code == 200
