from django.urls import path

from gateway.views.verify import verify

# What programs ask. In front of all other addresses, because proxies ask at each request.
check_patterns = [
    path("auth/verify/<id:pk>", verify, name="verify"),
    path("auth/verify/<id:pk>/", verify, {"rest": ""}, name="verify_root"),
    path("auth/verify/<id:pk>/<path:rest>", verify, name="verify_path"),
]
