from django.urls import path

from pipelines import views

app_name = "pipelines"
urlpatterns = [
    path("pipelines/", views.PipelineListView.as_view(), name="pipeline_list"),
    path("pipelines/<uuid:pk>/", views.PipelineDetailView.as_view(), name="pipeline_detail"),
    path("pipelines/<uuid:pk>/run/", views.PipelineRunView.as_view(), name="pipeline_run"),
    path("pipelines/<uuid:pk>/runs/<int:number>/", views.RunDetailView.as_view(), name="run_detail"),
    path(
        "pipelines/<uuid:pk>/runs/<int:number>/progress/",
        views.RunProgressView.as_view(),
        name="run_progress",
    ),
]
