"""Creates the demo in an empty database; test_demo.py tests its content."""

from datetime import UTC, datetime

import pytest
import time_machine

from accounts.models import User
from auditlog import usage
from opsera_portal.demo import data


@pytest.mark.slow
def test_operator_can_choose_the_password(db, settings):
    settings.DEMO_PASSWORD = "chosen by the operator"

    assert set(data.seed(echo_port=8001).values()) == {"chosen by the operator"}


@pytest.mark.parametrize("day", [datetime(2026, 3, 2, 0, 5, tzinfo=UTC), datetime(2026, 3, 8, 23, 50, tzinfo=UTC)])
@pytest.mark.slow
def test_history_can_be_created_at_any_time(db, day):
    """Tests a Monday just after midnight, and a late Sunday evening."""
    with time_machine.travel(day, tick=False):
        data.seed(echo_port=8001)
        user = User.objects.get(email="user@demo.example")

        assert len([day for day in usage.days(usage.of(user)) if day.total]) >= 29
        assert usage.after_end(usage.of(user))
