"""Ends a person's tokens together with their sessions, where they ask for that."""

from accounts.security import credentials
from tokens import services

credentials.ends_tokens(services.revoke_own)
