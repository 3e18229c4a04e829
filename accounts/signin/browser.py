"""What a browser says about its person when they sign in: their time zone, in a field of the form, and their language.

The field is in templates/includes/browser_time_zone.html. Not a cookie, because scripts of the portal set none.
"""

from django.http import HttpRequest
from django.utils.translation import get_language_from_request

from accounts.models import User
from accounts.services import take_from_browser

FIELD = "browser_time_zone"
_MAX_LENGTH = User._meta.get_field("time_zone").max_length


def note_time_zone(request: HttpRequest) -> None:
    """Keeps the time zone in the session, for a person who signs in elsewhere and comes back without the form."""
    request.session[FIELD] = request.POST.get(FIELD, "")[:_MAX_LENGTH]


def take(request: HttpRequest, user: User) -> None:
    """Stores what the browser of a person says who signs in now."""
    time_zone = request.session.pop(FIELD, "") or request.POST.get(FIELD, "")
    take_from_browser(actor=user, time_zone=time_zone, language=get_language_from_request(request))
