"""The version of the portal, by Semantic Versioning: docs/api-clients.md#versions says what is a breaking change."""

__version__ = "1.0.0"
