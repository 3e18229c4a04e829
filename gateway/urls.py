from django.urls import path

from gateway.views.sessions import finish, sign_out, start
from gateway.views.verify import verify

# What programs ask. In front of all other addresses, because proxies ask at each request.
check_patterns = [
    path("auth/verify/<id:pk>", verify, name="verify"),
    path("auth/verify/<id:pk>/", verify, {"rest": ""}, name="verify_root"),
    path("auth/verify/<id:pk>/<path:rest>", verify, name="verify_path"),
    path("auth/service/<id:pk>/start", start, name="service_start"),
    path("auth/service/<id:pk>/finish", finish, name="service_finish"),
    path("auth/service/<id:pk>/sign-out", sign_out, name="service_sign_out"),
]
