"""Decorators of views that take passwords."""

from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

never_cached = method_decorator(never_cache, name="dispatch")
hides_passwords = method_decorator(
    sensitive_post_parameters("oldpassword", "password", "password1", "password2"), name="dispatch"
)
