from django.urls import path

from pipelines.views import detail, http_steps, lists, rules, runs, steps, suggestions

app_name = "pipelines"
ONE = "pipelines/<id:pk>"
RUN = f"{ONE}/runs/<int:number>"
STEP = f"{ONE}/steps/<id:step_pk>"
RULE = f"{ONE}/access-rules/<id:rule_pk>"

urlpatterns = [
    path("organization/http-steps/", http_steps.HttpStepsView.as_view(), name="http_steps"),
    path("pipelines/", lists.PipelineListView.as_view(), name="pipeline_list"),
    path("pipelines/runs/", lists.RunListView.as_view(), name="run_list"),
    path("pipelines/new/", detail.PipelineCreateView.as_view(), name="pipeline_create"),
    path(f"{ONE}/", detail.PipelineDetailView.as_view(), name="pipeline_detail"),
    path(f"{ONE}/edit/", detail.PipelineUpdateView.as_view(), name="pipeline_update"),
    path(f"{ONE}/notifications/", detail.PipelineNotificationsView.as_view(), name="pipeline_notifications"),
    path(f"{ONE}/duplicate/", detail.PipelineDuplicateView.as_view(), name="pipeline_duplicate"),
    path(f"{ONE}/transfer/", detail.PipelineTransferView.as_view(), name="pipeline_transfer"),
    path(f"{ONE}/lock/", detail.PipelineLockView.as_view(), name="pipeline_lock"),
    path(f"{ONE}/unlock/", detail.PipelineUnlockView.as_view(), name="pipeline_unlock"),
    path(f"{ONE}/delete/", detail.PipelineDeleteView.as_view(), name="pipeline_delete"),
    path(f"{ONE}/steps/", steps.StepListView.as_view(), name="step_list"),
    path(f"{ONE}/steps/new/", steps.StepCreateView.as_view(), name="step_create"),
    path(f"{STEP}/", steps.StepUpdateView.as_view(), name="step_update"),
    path(f"{STEP}/move-up/", steps.StepMoveView.as_view(direction="up"), name="step_move_up"),
    path(f"{STEP}/move-down/", steps.StepMoveView.as_view(direction="down"), name="step_move_down"),
    path(f"{STEP}/remove/", steps.StepRemoveView.as_view(), name="step_remove"),
    path(f"{ONE}/access-rules/", rules.AccessRuleListView.as_view(), name="access_rule_list"),
    path(f"{RULE}/", rules.AccessRuleUpdateView.as_view(), name="access_rule_update"),
    path(f"{RULE}/remove/", rules.AccessRuleRemoveView.as_view(), name="access_rule_remove"),
    path(f"{ONE}/run/", runs.PipelineRunView.as_view(), name="pipeline_run"),
    path(f"{ONE}/stop/", runs.PipelineStopView.as_view(), name="pipeline_stop"),
    path(f"{ONE}/resume/", runs.PipelineResumeView.as_view(), name="pipeline_resume"),
    path(f"{ONE}/reset/", runs.PipelineResetView.as_view(), name="pipeline_reset"),
    path(f"{RUN}/", runs.RunDetailView.as_view(), name="run_detail"),
    path(f"{RUN}/progress/", runs.RunProgressView.as_view(), name="run_progress"),
    path(f"{RUN}/approve/", runs.RunApproveView.as_view(), name="run_approve"),
    path(f"{RUN}/reject/", runs.RunRejectView.as_view(), name="run_reject"),
    path(f"{ONE}/suggestions/owners/", suggestions.SuggestedOwnersView.as_view(), name="suggested_owners"),
    path(f"{ONE}/suggestions/recipients/", suggestions.SuggestedRecipientsView.as_view(), name="suggested_recipients"),
    path("suggestions/pipelines/", suggestions.SuggestedPipelinesView.as_view(), name="suggested_pipelines"),
    path("suggestions/tags/", suggestions.SuggestedTagsView.as_view(), name="suggested_tags"),
]
