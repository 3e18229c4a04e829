"""SQL expressions written by hand return the same values as the ORM."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from core.db.expressions import LastQuarterFrom, LastsLonger
from tokens.models import Token
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.each_database

DAY = timedelta(days=1)
BEGIN = datetime(2028, 2, 20, 23, 59, 59, tzinfo=UTC)  # before a leap day
MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize("life", [10 * DAY - MOMENT, 10 * DAY, 10 * DAY + MOMENT], ids=str)
@pytest.mark.parametrize("fraction", [0, 1, 500_000, 999_600, 999_999])
def test_days_between_moments_are_counted_to_the_microsecond(db, owner, fraction, life):
    created_at = BEGIN + fraction * MOMENT
    TokenFactory(owner=owner, created_at=created_at, expires_at=created_at + life)

    found = Token.objects.filter(LastsLonger("created_at", "expires_at", days=10)).exists()

    assert found == Token.objects.filter(expires_at__gt=F("created_at") + 10 * DAY).exists() == (life > 10 * DAY)


@pytest.mark.parametrize("life", [timedelta(seconds=4), timedelta(hours=1), DAY, 90 * DAY], ids=str)
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_beginning_of_the_last_quarter_is_exact_to_the_second(db, owner, life, off):
    TokenFactory(owner=owner, created_at=BEGIN, expires_at=BEGIN + life)
    begins_at = BEGIN + life * 3 / 4 + timedelta(seconds=off)

    found = Token.objects.annotate(begins=LastQuarterFrom("created_at", "expires_at")).filter(begins__lte=begins_at)

    assert found.exists() == (off >= 0)
