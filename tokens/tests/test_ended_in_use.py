"""Which ended tokens pages list as still in use."""

import uuid
from dataclasses import replace

from django.utils import timezone

from auditlog import usage
from auditlog.models import TokenUse
from tokens.ended_in_use import LISTED, with_last_uses


def test_token_whose_last_use_is_gone_makes_room_for_the_next_one(monkeypatch):
    moment = timezone.now()
    address = usage.AfterEndAddress("192.0.2.1", 1, moment, moment)
    tokens = [usage.AfterEnd(uuid.uuid4(), None, [address]) for _ in range(LISTED + 3)]
    gone = {tokens[1].token_id, tokens[LISTED].token_id}
    known = TokenUse()
    monkeypatch.setattr(
        usage,
        "with_last_uses",
        lambda uses, found: [replace(token, last=known) for token in found if token.token_id not in gone],
    )

    [listed] = with_last_uses(None, tokens)

    assert [token.token_id for token in listed] == [token.token_id for token in tokens if token.token_id not in gone]
    assert [token.last for token in listed] == [known] * LISTED + [None]
