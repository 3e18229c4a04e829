from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tokens", "0009_labels_with_abbreviations"),
    ]

    operations = [
        migrations.AddField(
            model_name='token',
            name='not_before',
            field=models.DateTimeField(null=True, verbose_name='works from'),
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(condition=models.Q(('not_before__isnull', True), ('not_before__lte', models.F('expires_at')), _connector='OR'), name='token_starts_before_its_end'),
        ),
    ]
