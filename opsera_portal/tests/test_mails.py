"""What every mail of the portal looks like: a text part and an HTML part with the same facts."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from accounts import mails as account_mails
from accounts.models import Notification, Organization, User
from accounts.notifications import mails as news_mails
from accounts.tests.factories import ServiceAccountFactory, UserFactory
from accounts.tests.factors import add_passkey
from auditlog.actions import Action
from auditlog.record import record
from core.mail import kinds, messages
from core.models import OutgoingMail
from gateway.tests.factories import ServiceFactory
from opsera_portal.tests.mails import delivered
from opsera_portal.tests.test_languages_of_pages import MADE_UP, left_in_english, speak_a_made_up_language
from opsera_portal.tests.test_translations import WORDS
from pipelines import notifications
from pipelines.models import Pipeline, Step
from pipelines.run_states import RunOutcome, StepState
from pipelines.tests.factories import PipelineFactory, RunFactory
from tokens import mails as token_mails
from tokens.approval import mails as approval_mails
from tokens.approval.models import Decision
from tokens.expiry import notices
from tokens.models import Token
from tokens.review import mails as review_mails
from tokens.tests.factories import ApprovalRequestFactory, ReviewItemFactory, TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.once]

# Names and texts of tokens and steps, which no language changes.
STORED = {"weekly build", "nightly build", "Look at it.", "It said:", "<b>no<", "<a href=''>x<", "Not used for  days."}
FOUND_AT = "https://evil.example/paste?<script>"
LIMIT = 30_000


class Read(HTMLParser):
    """The elements of an HTML part, its links and buttons, and its words in order, without the labels of buttons."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.links, self.buttons, self.labels, self.words, self._open = set(), [], [], [], [], []
        self.language = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.add(tag)
        assert not {"src", "srcset", "background", "ping"} & set(attrs)
        assert not [name for name in attrs if name.startswith("on")]
        if tag == "html":
            self.language = attrs["lang"]
        if tag == "a":
            (self.buttons if attrs.get("class") == "button" else self.links).append(attrs["href"])
        if tag not in {"br", "meta"}:
            self._open.append("button" if attrs.get("class") == "button" else attrs.get("class", tag))

    def handle_endtag(self, tag):
        self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] == "button":
            self.labels.append(data)
        elif not {"title", "style", "brand"} & set(self._open):
            self.words += data.split()


def parts_of(message):
    [(html, kind)] = message.alternatives
    assert kind == "text/html"
    return message.body, html


INCLUDED = {"tokens/mail/token.txt", "tokens/mail/account.txt"}


class Mails:
    """Everything that the mails of the portal are about, and one mail of each kind and each of its templates."""

    def __init__(self, organization, owner, administrator):
        self.organization, self.owner, self.administrator = organization, owner, administrator
        self.invited = UserFactory(organization=organization, name="Ina Invited", joined_at=None, password="!")
        self.without_password = UserFactory(organization=organization, name="Siri Single")
        self.without_password.set_unusable_password()
        self.without_password.save()
        add_passkey(self.without_password)
        now = timezone.now()
        ended = {"revoked_at": now, "revoke_reason": "Not used for 7 days.", "revoked_by": administrator}
        self.token = TokenFactory(owner=owner, name="nightly build", expires_at=now + timedelta(days=5))
        self.ended = TokenFactory(owner=owner, name="weekly build", **ended)
        service = ServiceFactory(organization=organization, name="Grafana")
        self.of_service = TokenFactory(owner=owner, name="weekly build", service=service, revoked_at=now)
        self.account = ServiceAccountFactory(organization=organization, name="CI deploy")
        self.orphaned = TokenFactory(owner=self.account, name="weekly build", **ended)
        self.asked = ApprovalRequestFactory(token__owner=owner, token__name="weekly build", reason="Look at it.")
        self.campaign = str(ReviewItemFactory(token=self.token).campaign_id)
        self.decided = [
            ApprovalRequestFactory(token__owner=owner, decision=decision, decided_by=administrator, decided_at=now)
            for decision in (Decision.APPROVED, Decision.REJECTED)
        ]
        self.decided.append(ApprovalRequestFactory(token__owner=owner, token__waits_until=now))
        Token.objects.filter(pk=self.decided[0].token_id).update(waits_until=None, approved_at=now)
        self.pipeline = PipelineFactory(owner=owner, name="Deploy")
        self.run = RunFactory(pipeline=self.pipeline, started_by=owner, outcome=RunOutcome.FAILED)
        steps = {"run": self.run, "kind": Step.Kind.APPROVAL}
        self.run.step_runs.create(
            position=1,
            name="Go?",
            state=StepState.PAUSED,
            instructions="Look at it.\n\n  https://evil.example/",
            **steps,
        )
        self.run.step_runs.create(
            position=2, name="Roll out", state=StepState.FAILED, message="It said:\n<b>no</b>\n\n<a href='//x'>x</a>"
        )

    def entry(self, action, target=None, actor=None, **details):
        request = SimpleNamespace(client_address="192.0.2.7", request_id=None)
        return record(actor=actor or self.owner, action=action, target=target or self.owner, request=request, **details)

    def told(self, kind, **details):
        name = Token.objects.get(pk=self.token.pk).name[:50]
        row = Notification.objects.create(
            person=self.owner, kind=kind, once="1", token_id=self.token.pk, token_name=name, details=details
        )
        return [str(row.public_id)]

    def put(self):
        owner, by = self.owner, self.administrator
        person, ended = str(owner.pk), [str(self.ended.pk)]
        reported = self.entry(Action.TOKEN_REPORTED, self.ended, found_at=FOUND_AT).target_id
        reused = self.entry(Action.TOKEN_ENDED_BY_REUSE, self.ended, reused=str(self.ended.pk)).target_id
        address = EmailAddress.objects.create(user=owner, email="new@acme.example")
        run = str(self.run.pk)
        addresses = {"from": "old@acme.example", "to": "new@acme.example"}
        return [
            account_mails.invitation_mail.put(self.invited.pk, str(self.invited.pk)),
            *(
                account_mails.security_mail.put(owner.pk, self.entry(action, actor=actor, kinds=["Passkey"]).pk)
                for action, actor in (
                    (Action.TWO_FACTOR_ADDED, None),
                    (Action.TWO_FACTOR_REMOVED, by),
                    (Action.SIGN_IN_FAILED, None),
                )
            ),
            account_mails.password_reset_mail.put(owner.pk, person, "192.0.2.7"),
            account_mails.password_reset_mail.put(self.without_password.pk, str(self.without_password.pk), "192.0.2.7"),
            account_mails.password_changed_mail.put(owner.pk, self.entry(Action.PASSWORD_RESET).pk),
            account_mails.password_changed_mail.put(owner.pk, self.entry(Action.PASSWORD_CHANGED, actor=by).pk),
            account_mails.email_change_link_mail.put(owner.pk, address.pk),
            account_mails.email_change_mail.put(
                owner.pk, self.entry(Action.EMAIL_CHANGE_ASKED, to="new@acme.example").pk
            ),
            account_mails.email_change_mail.put(owner.pk, self.entry(Action.EMAIL_CHANGED, actor=by, **addresses).pk),
            token_mails.report_mail.put(owner.pk, person, [reported]),
            token_mails.reuse_mail.put(owner.pk, person, [reused]),
            token_mails.expired_mail.put(owner.pk, person, ended, 3),
            token_mails.ended_by_service_mail.put(owner.pk, person, [str(self.of_service.pk)], 1),
            token_mails.unused_mail.put(owner.pk, person, ended),
            token_mails.orphaned_mail.put(by.pk, str(self.account.pk), [str(self.orphaned.pk)], str(by.pk)),
            token_mails.expired_mail.put(by.pk, str(self.account.pk), [str(self.orphaned.pk)], 1, str(by.pk)),
            token_mails.unconfirmed_mail.put(owner.pk, person, ended, len(ended)),
            *(review_mails.review_mail.put(owner.pk, person, self.campaign, warns) for warns in (False, True)),
            news_mails.news_mail.put(
                owner.pk, person, self.told("new_network", network="192.0.2.0/24", ip="192.0.2.7")
            ),
            news_mails.digest_mail.put(
                owner.pk,
                person,
                [
                    *self.told("end_near", expires_at=self.token.expires_at.isoformat()),
                    *self.told("role_changed", actor=by.name),
                ],
            ),
            approval_mails.requests_mail.put(by.pk, str(by.pk), str(self.asked.token_id)),
            *(approval_mails.decided_mail.put(owner.pk, str(asked.pk)) for asked in self.decided),
            notices.expiry_mail.put(owner.pk, person, [(str(self.token.pk), 7)]),
            notifications.run_mail.put(owner.pk, run, "failed", person),
            notifications.run_mail.put(owner.pk, run, "gate_waits", person),
        ]

    def sent(self):
        with transaction.atomic():
            rows = self.put()
        messages = list(delivered())
        assert len(messages) == len(rows)
        assert set(OutgoingMail.objects.values_list("state", flat=True)) == {OutgoingMail.State.SENT}
        return messages


@pytest.fixture
def mails(organization, owner, administrator):
    return Mails(organization, owner, administrator)


def test_every_kind_of_mail_and_every_template_is_among_these(mails, monkeypatch):
    used = set()

    def render(template, context):
        used.add(template)
        return render_to_string(template, context)

    monkeypatch.setattr(messages, "render_to_string", render)
    mails.sent()

    folder = settings.BASE_DIR / "templates"
    assert used == {str(path.relative_to(folder)) for path in folder.glob("*/mail/*.txt")} - INCLUDED
    only_queue_others = {"password_reset_answer", "run_announcement"}
    portal_kinds = {name for name, kind in kinds._kinds.items() if ".tests" not in kind.compose.__module__}
    assert set(OutgoingMail.objects.values_list("kind", flat=True)) == portal_kinds - only_queue_others


@pytest.mark.parametrize("language", [code for code, _name in settings.LANGUAGES])
def test_both_parts_have_the_same_words_in_the_same_order(mails, language):
    User.objects.update(language=language)

    for message in mails.sent():
        text, html = parts_of(message)
        read = Read(html)
        assert read.words == text.split(), message.subject
        assert read.language == language
        assert WORDS.search(text)


def test_every_text_of_every_mail_is_translated(mails, monkeypatch):
    speak_a_made_up_language(monkeypatch)
    User.objects.update(language=MADE_UP)

    sent = {message.subject: parts_of(message)[1] for message in mails.sent()}
    left = {subject: {*left_in_english(f"<p>{subject}</p>{html}")} - STORED for subject, html in sent.items()}

    assert {subject: texts for subject, texts in left.items() if texts} == {}


def test_every_mail_has_one_button_with_an_address_of_the_text(mails):
    for message in mails.sent():
        text, html = parts_of(message)
        read = Read(html)
        [address] = read.buttons
        assert f"\n\n{address}\n\n" in text, message.subject
        assert address.startswith(f"{settings.PORTAL_URL}/")
        assert len(read.labels) == 1
        assert all(link.startswith(f"{settings.PORTAL_URL}/") and link in text for link in read.links)


def test_every_mail_says_why_the_person_gets_it(mails):
    for message in mails.sent():
        for part in (message.body, parts_of(message)[1]):
            assert re.search(r"You get (this mail because|these mails) ", part), message.subject


def test_mails_load_nothing_and_fit_in_every_mail_program(mails):
    for message in mails.sent():
        _text, html = parts_of(message)
        sent = message.message().as_bytes(linesep="\r\n")
        assert not re.search(r"url\(|@import|@font-face|<img|<link|<script|http-equiv", html)
        assert "prefers-color-scheme: dark" in html
        assert '<meta name="color-scheme" content="light dark">' in html
        # RFC 5322 section 2.1.1.
        assert max(map(len, sent.split(b"\r\n"))) <= 998
        assert len(sent) < 12_000, message.subject


ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "table", "tr", "td", "p", "a", "br", "ul", "li", "strong"),
    "blockquote",
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><a href="https://evil.example/">x',
    "https://evil.example/login www.evil.example",
    "{{ settings.SECRET_KEY }}{% button 1 2 %}",
    "x\r\nBcc: everyone@example.com\n\n  <b>\n<table><tr><td>\n    &lt;",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_never_become_markup_or_links(mails, name):
    """Forms and API refuse some of these names, but rows in the database may have them."""
    for model in (User, Organization, Token, Pipeline):
        for number, pk in enumerate(model.objects.values_list("pk", flat=True)):
            model.objects.filter(pk=pk).update(name=f"{name}{number or ''}")
    mails.run.step_runs.update(name=name[:100])

    for message in mails.sent():
        text, html = parts_of(message)
        read = Read(html)
        assert read.elements <= ELEMENTS
        assert len(read.buttons) == 1
        assert all(link.startswith(f"{settings.PORTAL_URL}/") for link in [*read.links, *read.buttons])
        assert read.words == text.split()
        assert message.message()["Bcc"] is None
        assert not re.search(r"<script|<b>|href=.?https://evil", html)


def test_reported_address_and_texts_of_steps_are_shown_but_are_no_links(mails):
    found = {message.subject: parts_of(message)[1] for message in mails.sent()}

    html = next(html for subject, html in found.items() if "reported" in subject)
    assert "https://evil.example/paste?&lt;script&gt;" in html
    html = found["Run 1 of Deploy failed"]
    assert "<blockquote>It said:<br>\n&lt;b&gt;no&lt;/b&gt;<br>" in html
    html = found["Run 1 of Deploy waits for an approval"]
    assert "<blockquote>Look at it.<br>\n<br>\n  https://evil.example/<br>" in html


def test_mail_about_very_many_tokens_stays_small(mails, owner):
    def many(**fields):
        return Token.objects.bulk_create(
            TokenFactory.build(owner=owner, organization=owner.organization, name=f"{n:03}".ljust(50, "w"), **fields)
            for n in range(120)
        )

    ended = many(revoked_at=timezone.now(), revoke_reason="Not used for 7 days.")
    ids = [str(token.pk) for token in ended]
    ending = [(str(token.pk), 7) for token in many(expires_at=timezone.now() + timedelta(days=5))]
    with transaction.atomic():
        for token in ended:
            mails.entry(Action.TOKEN_REPORTED, token, found_at="https://github.com/acme/tools/blob/main/deploy.sh")
        token_mails.report_mail.put(owner.pk, str(owner.pk), ids)
        token_mails.unused_mail.put(owner.pk, str(owner.pk), ids)
        token_mails.expired_mail.put(owner.pk, str(owner.pk), ids[: token_mails.LISTED_IN_MAIL], 120)
        notices.expiry_mail.put(owner.pk, str(owner.pk), ending)

    found = delivered()

    assert [len(message.message().as_bytes()) < LIMIT for message in found] == [True] * 4
    further = sorted(int(re.search(r"\nand (\d+) more\n", message.body)[1]) for message in found)
    assert further == [70, 70, 100, 100]
    assert all("120 " in message.subject for message in found)
