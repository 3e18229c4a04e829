"""Single sign-on by OpenID Connect, where the environment names a provider (docs/single-sign-on.md).

The dance is allauth's: state, PKCE, the exchange of the code. Stricter here: the signature, issuer, audience and nonce
of each ID token are checked, the user info must be of the same person, and nobody signs up. Who comes for the first
time is found by an address that the provider has verified; from then on by the provider's own id of them, only.
"""
