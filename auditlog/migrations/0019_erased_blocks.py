from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("auditlog", "0018_labels_of_fields"),
    ]

    operations = [
        migrations.AlterField(
            model_name='seal',
            name='kind',
            field=models.CharField(choices=[('entries', 'Entries'), ('pruned', 'Pruned'), ('erased', 'Erased')], max_length=10),
        ),
    ]
