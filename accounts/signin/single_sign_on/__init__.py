"""Single sign-on by OpenID Connect, if the settings name a provider (docs/single-sign-on.md).

allauth handles state, PKCE and the exchange of the code. The portal adds checks: signature, issuer, audience and nonce
of each ID token, and user info of the same person. Nobody can sign up. On the first sign-in, a person is found by an
address that the provider has verified; after that only by the provider's id of them.
"""
