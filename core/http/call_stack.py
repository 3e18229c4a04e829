"""Keeps the frames of all calls of a request in one piece of memory.

CPython (from 3.11 on) keeps the frames of a thread in chunks of 16 KiB. Where the calls of a page cross the end of a
chunk, each call gets the next chunk from the operating system, and gives it back when it returns. Depending on where
the loops of a page happen to be, that took up to half of its processor time. The fast path of tokens makes fewer calls,
and is above this.
"""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# In slots of 8 bytes. CPython doubles the size of a chunk until a frame fits, so a frame of a bit more than 256 KiB
# leaves as much again for the frames below it. Memory that no call uses is never touched.
FRAME_SIZE = 33_000


class CallStackMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return _in_a_large_frame(self.get_response, request)


def _in_a_large_frame(get_response: GetResponse, request: HttpRequest) -> HttpResponseBase:
    return get_response(request)


_in_a_large_frame.__code__ = _in_a_large_frame.__code__.replace(co_stacksize=FRAME_SIZE)
