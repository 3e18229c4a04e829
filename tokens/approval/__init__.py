"""Tokens that a second person must approve before their owner sees them.

`rules.py`: which new tokens the policy asks approval for. `asking.py`: what `services.issue_token` does with them.
`deciding.py`: approving, rejecting and withdrawing a request. `models.py`: the request, which is kept.
"""
