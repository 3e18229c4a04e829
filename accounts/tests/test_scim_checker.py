"""The public checker for SCIM servers, scim2-tester, finds nothing wrong with `/scim/v2/`."""

import pytest

from core.api.scopes import SCOPES, as_string
from tokens.tests.factories import TokenFactory, bearer


@pytest.mark.django_db
def test_checker_finds_nothing_wrong(api, administrator):
    from accounts.tests import scim_checker

    administrator.organization.allowed_scopes = as_string(SCOPES)
    administrator.organization.save()

    results = scim_checker.findings(api, bearer(TokenFactory(owner=administrator, scope="scim")))

    assert len(results) > 40
    assert scim_checker.failures(results) == []
