"""Fixtures for all tests: people (an owner, a member of the same organization, a stranger), the portal, a browser."""

import atexit
import gc
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.dispatch import receiver
from django.http import HttpRequest
from django.template import RequestContext, Template
from django.test import TransactionTestCase
from django.test.client import ClientHandler, ClientMixin
from django.test.signals import setting_changed
from rest_framework.test import APIClient

from accounts.allauth_internals import record_authentication
from accounts.querysets import second_factors
from accounts.roles import SiteRole
from accounts.security.reauthentication import SECOND_FACTOR
from accounts.security.session_store import SessionStore
from accounts.tests.factories import OrganizationFactory, UserFactory
from core import rate_limits
from core.db.unavailable import refused_writes
from opsera_portal.tests import databases, ways_in
from opsera_portal.tests.browser import Chromium

# Collecting creates hundreds of thousands of objects that stay.
gc.set_threshold(50_000, 10, 10)
CHROMIUM = Chromium()
# Fixtures and imported classes that send requests.
CLIENTS = {"client", "api", "Client", "APIClient"}
HANDFUL = 25


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_modify_db_settings, django_db_blocker):
    """Copies a migrated database, because pytest-django would migrate one in each process."""
    name = connection.creation._get_test_db_name()
    connection.close()
    url = ""
    if connection.vendor == "sqlite":
        databases.copy_to_sqlite(Path(name))
    else:
        url = databases.copy_to_postgresql(os.environ["DATABASE_URL"], name)
    # Other threads take the name from the settings, this thread takes it from its connection.
    settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name
    yield
    if url:
        connection.close()
        databases.drop_from_postgresql(url)


def _empty_tables(test_case):
    databases.empty(connection)


TransactionTestCase._fixture_teardown = _empty_tables


@pytest.fixture(scope="session", autouse=True)
def _only_pages_are_noted(django_test_environment):
    """Records only the template context of the page.

    Django's test client copies the context of every rendered template, including those of form
    fields and table cells. `answer.context` needs only the page's context, and the copies take an
    eighth of the time.
    """
    instrumented = Template._render

    def render(template, context):
        is_page = isinstance(context, RequestContext) and context.template is template
        return instrumented(template, context) if is_page else template.nodelist.render(context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Template, "_render", render)
        yield


_load_middleware = ClientHandler.load_middleware
_loaded_middleware = {}


def _share_middleware(handler, is_async=False):
    """Loads the middleware once for all clients, because loading takes as long as a small request."""
    if is_async:
        _load_middleware(handler, is_async)
    elif _loaded_middleware:
        vars(handler).update(_loaded_middleware)
    else:
        before = {**vars(handler)}
        _load_middleware(handler)
        _loaded_middleware.update({name: value for name, value in vars(handler).items() if before.get(name) != value})


ClientHandler.load_middleware = _share_middleware


@receiver(setting_changed)
def _load_middleware_again(**kwargs):
    """Middleware may keep the settings with which it was loaded."""
    _loaded_middleware.clear()


def _sign_in(client, user, backend=None):
    """As Django's test client does, which first stores an empty session. Signing in replaces it immediately."""
    request = HttpRequest()
    request.session = client.session if client.cookies.get(settings.SESSION_COOKIE_NAME) else SessionStore()
    login(request, user, backend)
    request.session.save()
    client._set_login_cookies(request)


ClientMixin._login = _sign_in


@receiver(user_logged_in)
def sign_in_as_people_do(request, user, **kwargs):
    """Records `force_login` as a sign-in with all factors, so that no page requires another one."""
    if not get_authentication_records(request, user):
        has_two_factor = second_factors().filter(user=user).exists()
        record_authentication(request, user, method=SECOND_FACTOR if has_two_factor else "force_login")


@pytest.fixture(scope="session", autouse=True)
def _proofs_are_noted(django_test_environment):
    with ways_in.noted_proofs():
        yield


@pytest.fixture(autouse=True)
def _begins_afresh_and_is_watched():
    """Clears what earlier tests left in the process, and fails a request that gives a way in without a proof.

    The counts of limits in the database are rolled back with their test. One fixture, because each costs time in each
    test.
    """
    rate_limits._here.clear()
    refused_writes.forget()
    with ways_in.watched():
        yield


@pytest.fixture
def organization(db):
    return OrganizationFactory(name="Acme", slug="acme")


@pytest.fixture
def owner(organization):
    """An ordinary User who owns the objects of the test."""
    return UserFactory(organization=organization, email="owner@acme.example", name="Olga Owner")


@pytest.fixture
def member(organization):
    """Another User of the same organization."""
    return UserFactory(organization=organization, email="member@acme.example", name="Mo Member")


@pytest.fixture
def administrator(organization):
    return UserFactory(
        organization=organization,
        email="admin@acme.example",
        name="Ada Admin",
        site_role=SiteRole.ADMINISTRATOR,
    )


@pytest.fixture
def stranger(db):
    """The Administrator of another organization: all rights there, none here."""
    return UserFactory(
        organization=OrganizationFactory(name="Elsewhere", slug="elsewhere"),
        email="stranger@elsewhere.example",
        name="Sam Stranger",
        site_role=SiteRole.ADMINISTRATOR,
    )


@pytest.fixture
def api():
    """An API client that sends JSON."""
    return APIClient()


@pytest.fixture(scope="session")
def portal(tmp_path_factory):
    """Starts the portal with its demo organizations, once for all tests that use it."""
    from opsera_portal.tests import portal as started

    running = started.start(tmp_path_factory.mktemp("portal"), from_nothing=True)
    yield running
    if running.process.poll() is None:
        running.stop()
    started.drop_database(running.database_url)


@pytest.fixture(scope="session")
def crowded_portal(portal):
    """The started portal after `demo --many`. Its tests run last, because the others count the rows of the demo."""
    portal.add_many_rows()
    return portal


@pytest.fixture(scope="session")
def chromium():
    return CHROMIUM


@pytest.fixture
def browser_of(chromium, portal):
    """Opens a page, signed in as a person of the demo. The test fails if a script fails.

    ``alone``: in a context that no other test uses, for a test that changes more than cookies.
    """
    problems = []
    with ExitStack() as opened:

        def open_for(login, *, alone=False, **options):
            context_of = chromium.signed_in if alone else chromium.shared
            context = opened.enter_context(context_of(portal, f"{login}@demo.example", **options))
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.on("pageerror", lambda error: problems.append(str(error)))
            return page

        yield open_for
    assert problems == []


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    """Marks tests, and decides which tests run in one process, one after the other.

    These tests share the started portal or a fixture of their module. Of the others, long tests are
    distributed one by one and run first, so that no process is idle while another runs a long test
    at the end. Short tests are distributed in groups, because after each test xdist goes through
    all tests that it has distributed.
    """
    for number, item in enumerate(items):
        database = item.get_closest_marker("django_db")
        if database and database.kwargs.get("transaction") and not item.get_closest_marker("integration"):
            # Databases differ most in commits, locks and concurrent connections.
            # Integration tests are marked one by one.
            item.add_marker(pytest.mark.each_database)
        fixtures = item._fixtureinfo.name2fixturedefs
        if CLIENTS & {*item.fixturenames, *vars(item.module)}:
            item.add_marker(pytest.mark.http)
        if {"portal", "chromium"} & set(fixtures) and fixtures["portal"][-1].scope == "session":
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.xdist_group("portal"))
        elif "running" in fixtures:
            item.add_marker(pytest.mark.xdist_group("services"))
        elif has_module_fixture(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
        elif not (item.get_closest_marker("integration") or item.get_closest_marker("slow")):
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{number // HANDFUL}"))
    yield
    items.sort(key=place_in_order)


def place_in_order(item):
    return (
        not item.get_closest_marker("integration"),
        "crowded_portal" in item.fixturenames,
        not item.get_closest_marker("slow"),
        # One process runs the whole module.
        not has_module_fixture(item),
    )


def has_module_fixture(item):
    return any(found[-1].scope == "module" for found in item._fixtureinfo.name2fixturedefs.values())


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Lets Python's garbage collector look less often, and never at the modules and the thousands of tests.

    They live until the end. Looking at them takes a tenth of the processor time of all tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    # Python's search at its exit would find them again.
    atexit.register(gc.freeze)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem):
    if nextitem is None or "chromium" not in nextitem.fixturenames:
        CHROMIUM.stop()
