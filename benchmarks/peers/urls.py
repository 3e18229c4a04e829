from django.urls import path

from benchmarks.peers import views

urlpatterns = [
    path("plain", views.PlainView.as_view()),
    path("drf-token", views.DRFTokenView.as_view()),
    path("knox", views.KnoxView.as_view()),
    path("simplejwt", views.SimpleJWTView.as_view()),
    path("naive", views.NaiveView.as_view()),
]
