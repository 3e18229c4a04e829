from django.urls import path

from pipelines.api.views import HttpStepsViewSet, PipelineViewSet, RunListViewSet, RunViewSet, StepTemplateViewSet

app_name = "pipelines_api"

# Published: the pipeline is named in the body.
PUBLISHED = ("run", "status", "stop", "resume", "reset", "approve", "reject", "summary", "logs")

urlpatterns = [
    path("pipelines", PipelineViewSet.as_view({"get": "list", "post": "create"}), name="pipeline_list"),
    path(
        "pipelines/<id:pk>",
        PipelineViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="pipeline_detail",
    ),
    path(
        "pipelines/<id:pk>/access-rules",
        PipelineViewSet.as_view({"get": "access_rules", "put": "replace_access_rules"}),
        name="pipeline_access_rules",
    ),
    *(
        path(f"pipelines/<id:pk>/{action}", PipelineViewSet.as_view({"post": action}), name=f"pipeline_{action}_own")
        for action in ("duplicate", "transfer", "lock", "unlock")
    ),
    *(
        path(f"pipeline/{action}", RunViewSet.as_view({"post": action}), name=f"pipeline_{action}")
        for action in PUBLISHED
    ),
    path("runs", RunListViewSet.as_view({"get": "list"}), name="run_list"),
    path("organization/http-steps", HttpStepsViewSet.as_view({"get": "retrieve"}), name="http_steps"),
    path("step-templates", StepTemplateViewSet.as_view({"get": "list"}), name="step_template_list"),
]
