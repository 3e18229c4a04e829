import uuid

from django.db import migrations

from pipelines import secret_fields, step_secrets

WAS_LONGER = "The answer was longer; what stands above is its beginning."
REMOVED = "The answer was removed by an update: it was kept without a search for secrets in all encodings."


def remove_answers(apps, schema_editor):
    """Answers stood in the message, for everyone who sees the pipeline. What secrets they hold cannot be told any more:
    those of finished runs are gone."""
    answers = apps.get_model("pipelines", "RunLogLine").objects.filter(action="answer")
    answers.exclude(message=WAS_LONGER).update(message=REMOVED)


def take_secrets_out_of_queries(apps, schema_editor):
    """Encrypts parameters that carry secrets by their name; in runs that are over they are removed."""
    for step in apps.get_model("pipelines", "Step").objects.filter(url__contains="?").iterator():
        step.identity = (str(step.pipeline_id), str(step.pk))
        take_out(step, keep=True)
    runs = apps.get_model("pipelines", "StepRun").objects.filter(url__contains="?").select_related("run")
    for step in runs.iterator():
        step.step_public_id = step.step_public_id or uuid.uuid4()
        step.identity = (str(step.run.pipeline_public_id), str(step.step_public_id))
        take_out(step, keep=step.run.state != "finished")


def take_out(step, *, keep):
    url, values = secret_fields.split_query(step.url)
    if not values:
        return
    step.url = url
    step.secret_query = step_secrets.encrypt(step, "secret_query", values) if keep else {}
    step.save(update_fields=["url", "secret_query", *(["step_public_id"] if hasattr(step, "step_public_id") else [])])


def put_secrets_back(apps, schema_editor):
    """Into the URL, from which the code before this migration sends them. Removed answers stay removed."""
    for name in ("Step", "StepRun"):
        for step in apps.get_model("pipelines", name).objects.exclude(secret_query={}).iterator():
            if name == "Step":
                step.identity = (str(step.pipeline_id), str(step.pk))
            else:
                step.identity = (str(step.run.pipeline_public_id), str(step.step_public_id))
            step.url = secret_fields.url_with(step.url, step_secrets.readable(step, "secret_query"))
            step.secret_query = {}
            step.save(update_fields=["url", "secret_query"])


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0013_secret_fields_and_answers")]

    operations = [
        migrations.RunPython(remove_answers, migrations.RunPython.noop),
        migrations.RunPython(take_secrets_out_of_queries, put_secrets_back),
    ]
