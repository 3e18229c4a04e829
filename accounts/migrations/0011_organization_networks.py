from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0010_user_browser_language"),
    ]

    operations = [
        migrations.AddField(
            model_name='organization',
            name='sign_in_network_roles',
            field=models.CharField(blank=True, default='', max_length=200, verbose_name='site roles that can sign in only from these networks'),
        ),
        migrations.AddField(
            model_name='organization',
            name='sign_in_networks',
            field=models.TextField(blank=True, default='', help_text='Separated by spaces; empty: from everywhere. For people with the site roles below.', verbose_name='networks from which people can sign in'),
        ),
        migrations.AddField(
            model_name='organization',
            name='token_networks',
            field=models.TextField(blank=True, default='', help_text='Separated by spaces; empty: from everywhere. At all other addresses, tokens are refused.', verbose_name='networks from which tokens can be used'),
        ),
    ]
