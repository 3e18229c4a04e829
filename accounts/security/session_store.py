"""Sessions in the database under a digest of their key, so that a copy of the database opens none.

The key is in the browser's cookie only. It has 32 random characters, so that its digest needs neither salt nor
stretching. A reader of the table gets digests, and a digest that is sent as a cookie is hashed again.
"""

import hashlib
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone

# What the column of Django and that of allauth hold: 160 of SHA-256's 256 bits.
DIGEST_LENGTH = 40


def digest_of(session_key: str) -> str:
    """The name under which the tables know the session with this key."""
    return hashlib.sha256(session_key.encode(errors="surrogatepass")).hexdigest()[:DIGEST_LENGTH]


class SessionStore(db.SessionStore):
    """Django's. What reaches the database goes through these four; those for asynchronous code lead here as well."""

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        digest = digest_of(str(self.session_key))
        session: AbstractBaseSession | None = self.model.objects.filter(
            session_key=digest, expire_date__gt=timezone.now()
        ).first()
        if session is None:
            self._session_key = None
        return session

    def exists(self, session_key: str) -> bool:
        return super().exists(digest_of(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        session = super().create_model_instance(data)
        session.session_key = digest_of(session.session_key)
        return session

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest_of(key))

    async def _aget_session_from_db(self) -> AbstractBaseSession | None:
        return await sync_to_async(self._get_session_from_db)()

    async def aexists(self, session_key: str) -> bool:
        return await sync_to_async(self.exists)(session_key)

    async def acreate_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        return await sync_to_async(self.create_model_instance)(data)

    async def adelete(self, session_key: str | None = None) -> None:
        await sync_to_async(self.delete)(session_key)
