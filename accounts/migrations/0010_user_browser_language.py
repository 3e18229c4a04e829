from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0009_language_and_time_zone'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='browser_language',
            field=models.CharField(blank=True, help_text='At the last sign-in. Empty: English.', max_length=10, verbose_name='language of the browser'),
        ),
    ]
