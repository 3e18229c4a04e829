from django.db import migrations
from django.db.models import OuterRef, Subquery


def fill(apps, schema_editor):
    """What a run copies of its pipeline, so that it outlives it."""
    Pipeline = apps.get_model("pipelines", "Pipeline")
    of_run = Pipeline.objects.filter(pk=OuterRef("pipeline"))
    apps.get_model("pipelines", "Run").objects.filter(pipeline_public_id=None).update(
        pipeline_public_id=Subquery(of_run.values("pk")[:1]),
        pipeline_name=Subquery(of_run.values("name")[:1]),
        organization=Subquery(of_run.values("organization")[:1]),
    )


class Migration(migrations.Migration):
    dependencies = [("pipelines", "0005_run_copies_of_pipeline")]

    # Backwards there is nothing to do: the copies go with their columns.
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
