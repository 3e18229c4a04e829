import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("auditlog", "0020_actions_and_reasons_of_teams"),
    ]

    operations = [
        migrations.CreateModel(
            name='LogPlace',
            fields=[
                ('reader', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('last_id', models.BigIntegerField()),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.AlterField(
            model_name='activity',
            name='action',
            field=models.CharField(choices=[('authentication.signed_in', 'Signed in'), ('authentication.signed_out', 'Signed out'), ('authentication.failed', 'Failed sign-in'), ('authentication.refused', 'Sign-in refused'), ('authentication.session_refused', 'Session refused'), ('authentication.session_ended', 'Session ended'), ('authentication.signed_out_everywhere', 'Signed out everywhere'), ('authentication.password_changed', 'Password changed'), ('authentication.password_reset_asked', 'Password reset requested'), ('authentication.password_reset', 'Password reset'), ('authentication.email_change_asked', 'E-mail change requested'), ('authentication.email_changed', 'E-mail address changed'), ('authentication.two_factor_added', 'Two-factor added'), ('authentication.two_factor_removed', 'Two-factor removed'), ('authentication.recovery_codes_made', 'Recovery codes created'), ('authentication.recovery_code_used', 'Recovery code used'), ('authentication.provider_connected', 'Single sign-on connected'), ('authentication.provider_disconnected', 'Single sign-on disconnected'), ('token.issued', 'Token created'), ('token.approval_requested', 'Approval of a token requested'), ('token.approved', 'Token approved'), ('token.rejected', 'Token rejected'), ('token.request_withdrawn', 'Request for a token withdrawn'), ('token.revealed', 'Token shown'), ('token.changed', 'Token renamed or described'), ('token.replaced', 'Token replaced'), ('token.revoked', 'Token expired early'), ('token.ended_by_operator', 'Token expired by the operator'), ('token.ended_unused', 'Token expired unused'), ('token.ended_orphaned', 'Token of an orphaned service account expired'), ('token.ended_by_reuse', 'Token expired after reuse'), ('token.reported', 'Token reported and expired'), ('token.looked_up', 'Token looked up'), ('user.created', 'User created'), ('user.invited', 'Invitation sent'), ('user.changed', 'User changed'), ('user.preferences_changed', 'Preferences changed'), ('user.role_changed', 'Site role changed'), ('user.role_kept', 'Site role kept'), ('user.activated', 'User activated'), ('user.deactivated', 'User deactivated'), ('user.erased', 'User erased'), ('service_account.created', 'Service account created'), ('service_account.changed', 'Service account changed'), ('service_account.responsible_changed', 'Responsible people changed'), ('service_account.activated', 'Service account activated'), ('service_account.deactivated', 'Service account deactivated'), ('group.created', 'Group created'), ('group.changed', 'Group changed'), ('group.deleted', 'Group deleted'), ('policy.changed', 'Token policy changed'), ('policy.single_sign_on_changed', 'Single sign-on changed'), ('policy.single_sign_on_removed', 'Single sign-on removed'), ('pipeline.created', 'Pipeline created'), ('pipeline.edited', 'Pipeline edited'), ('pipeline.deleted', 'Pipeline deleted'), ('pipeline.duplicated', 'Pipeline duplicated'), ('pipeline.transferred', 'Pipeline transferred'), ('pipeline.access_rules_changed', 'Access rules changed'), ('pipeline.locked', 'Pipeline locked'), ('pipeline.unlocked', 'Pipeline unlocked'), ('pipeline.started', 'Pipeline run started'), ('pipeline.run_refused', 'Queued pipeline run refused'), ('pipeline.stopped', 'Pipeline stopped'), ('pipeline.resumed', 'Pipeline resumed'), ('pipeline.reset', 'Pipeline reset'), ('pipeline.approved', 'Gate approved'), ('pipeline.rejected', 'Gate rejected'), ('webhook.created', 'Webhook created'), ('webhook.changed', 'Webhook changed'), ('webhook.secret_replaced', 'Secret of a webhook replaced'), ('webhook.paused', 'Webhook paused'), ('webhook.resumed', 'Webhook resumed'), ('webhook.deleted', 'Webhook deleted')], max_length=40),
        ),
        migrations.AlterField(
            model_name='activity',
            name='type',
            field=models.CharField(choices=[('authentication', 'Authentication'), ('token', 'Token'), ('user', 'User'), ('service_account', 'Service account'), ('group', 'Group'), ('policy', 'Policy'), ('pipeline', 'Pipeline'), ('webhook', 'Webhook')], max_length=20),
        ),
    ]
