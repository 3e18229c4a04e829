import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0011_organization_networks"),
    ]

    operations = [
        migrations.AddField(
            model_name='organization',
            name='max_replacement_overlap_hours',
            field=models.PositiveSmallIntegerField(default=168, help_text='0 to 168. With 0, a token ends as soon as another one replaces it.', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(168)], verbose_name='longest time that a replaced token works on, in hours'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('max_replacement_overlap_hours__lte', 168)), name='organization_max_replacement_overlap_0_to_168_hours'),
        ),
    ]
