from django.urls import path

from pipelines.api.views import PipelineViewSet

app_name = "pipelines_api"
urlpatterns = [
    path("pipelines", PipelineViewSet.as_view({"get": "list"}), name="pipeline_list"),
    path("pipeline/run", PipelineViewSet.as_view({"post": "run"}), name="pipeline_run"),
    path("pipeline/status", PipelineViewSet.as_view({"post": "status"}), name="pipeline_status"),
    path("pipeline/summary", PipelineViewSet.as_view({"post": "summary"}), name="pipeline_summary"),
    path("pipeline/logs", PipelineViewSet.as_view({"post": "logs"}), name="pipeline_logs"),
]
