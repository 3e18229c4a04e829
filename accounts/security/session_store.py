"""Stores sessions under a digest of their key, so that nobody can use a session from a copy of the database.

Only the browser's cookie has the key. It has 32 random characters, so that its digest needs neither salt nor
stretching. A digest that is sent as a cookie is hashed again and matches nothing.
"""

import hashlib
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone

# Fits the columns of Django and allauth: 160 of SHA-256's 256 bits.
DIGEST_LENGTH = 40


def digest_of(session_key: str) -> str:
    """The digest under which the tables store the session with this key."""
    return hashlib.sha256(session_key.encode(errors="surrogatepass")).hexdigest()[:DIGEST_LENGTH]


class SessionStore(db.SessionStore):
    """Django's store, with digests in the four methods that reach the database, and in their asynchronous versions."""

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
