"""SCIM 2.0 (RFC 7643 and 7644): an identity provider creates, changes and deactivates people, and manages groups.

The views are views of the API: they share its check of tokens, its log and its services. What differs is what SCIM
prescribes: the shape of resources and errors, filters, and the operations of PATCH.
"""
