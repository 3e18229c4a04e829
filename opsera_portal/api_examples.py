"""Adds an example to each request body, answer and address in the OpenAPI schema.

An example is generated from its schema. Values come from the tables below, by field name. All examples are about the
same few people and things, and `test_api_examples.py` sends each request to a portal that has them.
"""

import json
from base64 import urlsafe_b64encode
from typing import Any

ACCOUNT = "5b1d9e2a-6c3f-4b8e-9d47-3f0a1c2b7e64"
PERSON, OTHER_PERSON, GROUP = (f"0190a1b2-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))
TOKEN, PIPELINE, STEP, RUN, ENTRY = (f"0190a1b2-0000-7000-8000-00000000000{n}" for n in (4, 5, 6, 7, 8))
SERVICE = "7d3e8c52-1f4a-4e0b-9a6d-2c5b8f01e734"
EMAIL, NAME = "dana@example.com", "Dana Moreau"
OTHER_EMAIL, OTHER_NAME = "sam@example.com", "Sam Okafor"
# Has the form of a token, and no portal signed it. Put together here, so that no scanner takes it for a leaked one.
JWT = ".".join(
    urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"EdDSA","kid":"example"}', b'{"jti":"0190a1b2"}', b"not a signature")
)
SESSION = 7
AGENT = "curl/8.5.0"
ADDRESS = "203.0.113.17"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
STARTED, FINISHED = "2026-11-30T14:05:02Z", "2026-11-30T14:05:09Z"

Shape = dict[str, Any]

# By the name of a field, in every object.
VALUES: dict[str, Any] = {
    "account": "example",
    "address": ADDRESS,
    "answer": '{"result": "ok"}',
    "answer_days": 14,
    "answered_at": STARTED,
    "answered_by": EMAIL,
    "attempts": 3,
    "blocked_because": "",
    "body": '{"branch": "main"}',
    "browser": "Firefox 140 on Linux",
    "can_be_revealed_until": None,
    "asked_at": "2026-11-30T08:15:00Z",
    "asked_by": EMAIL,
    "approval_for_service_accounts": False,
    "approval_lifetime_days": 60,
    "approval_reason": "For the nightly export to the archive.",
    "approval_scopes": ["security-logs"],
    "count": 1,
    "date": "2026-11-30",
    "created_at": "2026-11-02T09:30:00Z",
    "decided_at": None,
    "decided_by": None,
    "decision_reason": "",
    "decided_by_email": "",
    "description": "Builds the main branch and tests it.",
    "digest": DIGEST,
    "due_at": "2026-12-14T08:00:00Z",
    "duration_ms": 18,
    "email": EMAIL,
    "expected_status": 200,
    "expires_at": "2026-12-31T09:30:00Z",
    "expires_soon": False,
    "finished_at": FINISHED,
    "first_at": "2026-11-28T08:00:00Z",
    "group_id": None,
    "group_name": None,
    "header_names": ["Authorization", "Content-Type"],
    "headers": {"Content-Type": "application/json"},
    "instructions": "",
    "ip": ADDRESS,
    "host_name": "ci-7.example.com",
    "is_complete": True,
    "is_limited": True,
    "is_locked": False,
    "is_new": False,
    "language": "en",
    "last_at": "2026-11-30T14:05:02Z",
    "last_error": "The mail server could not be reached.",
    "last_ip": ADDRESS,
    "last_method": "GET",
    "last_run": {"runCount": 1, "status": "success"},
    "last_seen_at": "2026-11-30T14:05:02Z",
    "last_sign_in_at": "2026-11-30T08:12:40Z",
    "last_target": "/api/v1/me",
    "last_used_at": "2026-11-30T14:05:02Z",
    "last_used_ip": ADDRESS,
    "last_user_agent": AGENT,
    "locked_by_email": "",
    "log_retention_days": 400,
    "mail": "Your token ends soon",
    "max_live_tokens": 50,
    "max_replacement_overlap_hours": 168,
    "max_token_lifetime_days": 92,
    "method": "GET",
    "missing_secrets": [],
    "next": None,
    "next_attempt_at": "2026-11-30T14:35:00Z",
    "notified_people": [EMAIL],
    "operations_allowed": 20,
    "operations_total": 60,
    "outcome": "allowed",
    "owner_email": EMAIL,
    "owner_id": PERSON,
    "owner_name": NAME,
    "pipelineId": PIPELINE,
    "pipelines": [PIPELINE],
    "pipeline_name": "Build and test",
    "planned_at": "2026-11-30T08:00:00Z",
    "planned_by": EMAIL,
    "position": 1,
    "reason": "Found in a public repository",
    "refused": 0,
    "reminded_at": None,
    "repeat_months": 6,
    "request_id": "0190a1b2-0000-7000-8000-0000000000ff",
    "requested_at": "2026-11-30T14:05:00Z",
    "response_bytes": 74,
    "response_status": 200,
    "revealed_at": "2026-11-02T09:30:10Z",
    "revoke_reason": "",
    "revoked_at": None,
    "revoked_by": None,
    "runCount": 1,
    "scope": "api",
    "scopes": ["pipeline"],
    "secret_body_names": [],
    "secret_header_names": ["Authorization"],
    "secret_query_names": [],
    "signed_in_at": "2026-11-30T08:12:40Z",
    "site_role": "user",
    "sign_in_network_roles": ["administrator"],
    "sign_in_networks": ["203.0.113.0/24"],
    "started_at": STARTED,
    "started_by_email": EMAIL,
    "state": "active",
    "status": "success",
    "tags": ["build"],
    "target": "/api/v1/me",
    "target_id": PIPELINE,
    "target_name": "Build and test",
    "time_zone": "Europe/Berlin",
    "token_id": TOKEN,
    "token_name": "Nightly build",
    "token_networks": ["203.0.113.0/24"],
    "tokens": 1,
    "two_factor_roles": ["administrator"],
    "max_service_token_lifetime_days": 92,
    "orphaned_service_tokens_end_after_days": 30,
    "service_token_creators": "responsible",
    "unused_tokens_end_after_days": 90,
    "updatedAt": STARTED,
    "createdAt": STARTED,
    "updated_at": "2026-11-12T16:20:00Z",
    "url": "https://ci.example.com/build",
    "user_agent": AGENT,
    "user_email": EMAIL,
    "user_id": PERSON,
    "uses": 12,
    "uses_proxy": False,
    "version": "2c1b53fe164415b6",
    "_id": ENTRY,
    "id": ENTRY,
}
TOKEN_FIELDS = {"id": TOKEN, "name": "Nightly build"}
LIMITS = {"networks": ["203.0.113.0/24"], "max_uses": None, "uses_left": None, "not_before": None}
WHOLE_TOKEN_FIELDS = TOKEN_FIELDS | LIMITS | {"service": None, "replaced_by": None}
PERSON_FIELDS = {"id": PERSON, "name": NAME}
ACCOUNT_FIELDS = {
    "id": ACCOUNT,
    "email": "ci-deploy-x7k2q9@service-account.invalid",
    "name": "CI deploy",
    "description": "Deploys the shop.",
    "site_role": "user",
    "is_active": True,
    "state": "active",
    "orphaned_at": None,
    "live_tokens": 1,
}
PIPELINE_FIELDS = {"id": PIPELINE, "name": "Build and test", "owner_email": EMAIL}
ACTIVITY_FIELDS = {"type": "pipeline", "action": "pipeline.started", "details": {"run": 1}}
SERVICE_OF_USE = {"id": SERVICE, "name": "Grafana", "short_name": "grafana"}
USE_FIELDS = {
    "status": 200,
    "reason": "ok",
    "scope": "service:grafana:read",
    "method": "GET",
    "target": "/api/dashboards/7",
    "service": SERVICE_OF_USE,
    "reported_at": None,
}
RUN_FIELDS = {"id": RUN, "status": "success"}
STEP_FIELDS = {"id": STEP, "name": "Build", "kind": "http_call", "method": "POST"}
NEW_PERSON = {"email": "robin@example.com", "name": "Robin Silva", "groups": [GROUP]}
ROLE_RULE = {"claim": "groups", "value": "portal-admins", "site_role": "administrator"}
GROUP_RULE = {"claim": "groups", "value": "dev", "group": GROUP}
SINGLE_SIGN_ON = {
    "name": "Example ID",
    "issuer": "https://id.example.com",
    "client_id": "opsera-portal",
    "is_enabled": True,
    "trusts_email": False,
    "creates_people": True,
    "domains": ["example.com"],
    "default_role": "guest",
    "people_per_hour": 20,
    "refuses_unmapped": False,
}
NO_VERSION = {"max_token_lifetime_days": 30, "version": ...}

TRUST_RULE = "0190a1b2-0000-7000-8000-00000000000d"
TRUST_RULE_FIELDS = {
    "name": "Shop",
    "issuer": "https://token.actions.githubusercontent.com",
    "audience": "https://portal.example.com/acme",
    "claims": [{"claim": "repository", "value": "acme/shop"}, {"claim": "ref", "value": "refs/heads/main"}],
    "service_account_id": ACCOUNT,
    "scopes": ["pipeline"],
    "pipelines": None,
    "lifetime_minutes": 15,
    "is_enabled": True,
}
# By the name of an object. `...` leaves a field out.
WEBHOOK = "0190a1b2-0000-7000-8000-00000000000c"
WEBHOOK_FIELDS = {
    "url": "https://hooks.example.com/portal",
    "description": "Chat of the team",
    "events": ["new_network", "leaked", "activity"],
    "is_paused": False,
    "paused_at": None,
    "failing_since": None,
}
SERVICE_FIELDS = {
    "name": "Grafana",
    "short_name": "grafana",
    "address": "https://grafana.example.com",
    "description": "Dashboards of all teams",
    "check_by": "forward_auth",
    "path_rules": ["GET,HEAD /api/dashboards/** read"],
    "site_roles": ["administrator", "user"],
    "needs_approval": False,
    "allows_sessions": False,
}
SERVICE_SCOPE = {"name": "read", "label": "Read", "description": "Look at dashboards", "only_reads": True}
CAMPAIGN = "0190a1b2-0000-7000-8000-00000000000e"
CAMPAIGN_FIELDS = {
    "id": CAMPAIGN,
    "state": "open",
    "starts_at": "2026-11-30T08:00:00Z",
    "started_at": "2026-11-30T08:00:00Z",
    "ended_at": None,
    "ended_by": None,
    "digest": "",
    "is_record_pending": False,
}
RECORD = (
    "token_id,token_name,owner_name,owner_email,scopes,expires_at,last_used_at,answer,answered_by,answered_at,note\r\n"
    f"{TOKEN},Nightly build,{NAME},{EMAIL},pipeline,2026-12-31T09:30:00Z,2026-11-30T14:05:02Z,"
    f"confirmed,{EMAIL},{STARTED},Still needed.\r\n"
)
OBJECTS: dict[str, dict[str, Any]] = {
    "AccessReview": TOKEN_FIELDS | {"service": None},
    "Approval": {"state": "waiting", "reason": "For the nightly export to the archive."},
    "AnswerBodyRequest": {"ids": [TOKEN], "note": "Still needed for the nightly build."},
    "ReviewCampaign": CAMPAIGN_FIELDS,
    "ReviewCampaignDetail": CAMPAIGN_FIELDS,
    "ReviewCheck": {"sealed": DIGEST, "matches": True, "is_pending": False},
    "ReviewCounts": {
        "total": 3,
        "waiting": 1,
        "confirmed": 1,
        "expired": 1,
        "lapsed": 0,
        "ended": 0,
        "unanswered": 0,
    },
    "ReviewItem": {
        "service": None,
        "token_id": TOKEN,
        "token_name": "Nightly build",
        "state": "confirmed",
        "note": "Still needed.",
    },
    "PlanReviewBodyRequest": {"starts_at": ...},
    "TokenToConfirm": {"campaign_id": CAMPAIGN},
    "ApproveTokenBodyRequest": {"reason": "Agreed in the weekly meeting."},
    "RejectTokenBodyRequest": {"reason": "Use a token with fewer scopes."},
    "AccessRule": {"id": ENTRY, "user_id": OTHER_PERSON, "user_email": OTHER_EMAIL, "role": "manager"},
    "AccessRuleBodyRequest": {
        "id": ...,
        "user_id": ...,
        "user_email": OTHER_EMAIL,
        "group_id": ...,
        "group_name": ...,
        "role": "manager",
    },
    "ActionDone": {"status": "success", "message": "Run 1 of “Build and test” is stopped."},
    "ActionFailed": {
        "status": "failed",
        "message": "“Build and test”: Its last run has ended. There is nothing to reset.",
    },
    "Activity": ACTIVITY_FIELDS,
    "ActivityDetail": ACTIVITY_FIELDS,
    "AddressRules": {
        "refused": [{"kind": "a loopback address", "networks": ["127.0.0.0/8", "::1/128"]}],
        "allowed": [],
    },
    "BlockedByRule": {"lifetime": 1, "service_lifetime": 0, "scope": 0, "unused": 0, "orphaned": 0, "two_factor": 0},
    "EditTokenBodyRequest": {"name": "Nightly build 2", "description": "Starts the tests every night."},
    "ChangeGroupBodyRequest": {"name": "Release team", "members": [PERSON, OTHER_PERSON]},
    "ChangePipelineBodyRequest": {"name": "Build, test and report", "notified_people": ..., "steps": ...},
    "ChangePolicyBodyRequest": {"max_token_lifetime_days": 30, "allowed_scopes": ["api-readonly", "pipeline"]}
    | dict.fromkeys(("max_live_tokens", "two_factor_roles", "log_retention_days", "version"), ...)
    | dict.fromkeys(("token_networks", "sign_in_networks", "sign_in_network_roles"), ...)
    | dict.fromkeys(("unused_tokens_end_after_days", "orphaned_service_tokens_end_after_days"), ...)
    | dict.fromkeys(("max_service_token_lifetime_days", "service_token_creators"), ...)
    | dict.fromkeys(("approval_scopes", "approval_lifetime_days", "approval_for_service_accounts"), ...)
    | {"max_replacement_overlap_hours": ...},
    "ChangePreferencesBodyRequest": {"wants_expiry_mails": ..., "notifications": {"first_use": "portal_and_digest"}},
    "ChangeUserBodyRequest": {"site_role": ..., "is_active": False},
    "ChangeSingleSignOnBodyRequest": SINGLE_SIGN_ON | {"client_secret": "secret-of-the-client"},
    "ChangedPolicy": {"max_token_lifetime_days": 30, "allowed_scopes": ["api-readonly", "pipeline"]},
    "CreateGroupBodyRequest": {"name": "Release team", "members": [PERSON]},
    "CreatePipelineBodyRequest": {"name": "Build the docs"},
    "DayUses": {"allowed": 12, "refused": 0},
    "DuplicatePipelineBodyRequest": {"name": "Build and test, copy"},
    "Effect": {
        "blocked_tokens": 1,
        "blocked_people": 1,
        "unblocked_tokens": 0,
        "unused_soon": 0,
        "people_to_set_up_two_factor": 0,
        "people_above_max_live_tokens": 0,
        "tokens_used_outside": 0,
        "people_signed_in_outside": 0,
    },
    "EndSessionsBodyRequest": {"including_here": False, "expire_tokens": True},
    "Ended": {"sessions": 2, "tokens": 1},
    "EndedTokenInUse": TOKEN_FIELDS,
    "ExpireTokensBodyRequest": {"ids": [TOKEN]},
    "Group": {"id": GROUP, "name": "Builders", "member_count": 2},
    "EraseUserBodyRequest": {"confirm": OTHER_EMAIL},
    "GroupDetail": {"id": GROUP, "name": "Builders"},
    "GroupRule": GROUP_RULE,
    "GroupRuleRequest": GROUP_RULE,
    "GroupRef": {"id": GROUP, "name": "Builders"},
    "InviteUserBodyRequest": NEW_PERSON,
    "IssueTokenBodyRequest": {
        "name": "Release script",
        "service": ...,
        "networks": ["203.0.113.0/24"],
        "max_uses": ...,
        "not_before": ...,
        "approval_reason": ...,
        "lifetime": "1mo",
        "expires_at": ...,
    },
    "IssuedToken": WHOLE_TOKEN_FIELDS
    | {"name": "Release script", "token": JWT, "last_used_at": None, "last_used_ip": None},
    "ListedRun": RUN_FIELDS,
    "Narrowing": {
        "days": 90,
        "used_operations": [{"method": "GET", "path": "/api/v1/pipelines/<id:pk>", "last_used_at": STARTED}],
        "used_pipelines": [PIPELINE],
        "enough_scopes": ["pipeline-readonly"],
    },
    "UnusedRights": {
        "days": 90,
        "service": None,
        "operations_used": 3,
        "scopes": ["api", "tokens:rotate"],
        "enough_scopes": ["pipeline-readonly"],
        "unused_scopes": ["api", "tokens:rotate"],
        "is_limited": True,
        "unused_pipelines": [PIPELINE],
    },
    "Me": {"organization": {"id": ENTRY, "name": "Example", "account": "example"}},
    "MeUser": PERSON_FIELDS | {"is_service_account": False},
    "Member": PERSON_FIELDS,
    "Marked": {"marked": 3},
    "MarkReadBodyRequest": {"ids": [ENTRY], "until": ...},
    "Notification": {
        "id": ENTRY,
        "kind": "new_network",
        "is_security": True,
        "text": "“Nightly build” was used from the network 203.0.113.0/24 for the first time.",
        "details": {"ip": "203.0.113.17", "network": "203.0.113.0/24"},
        "read_at": None,
    },
    "OrganizationMail": {"user_id": PERSON, "state": "waiting"},
    "OrganizationToken": WHOLE_TOKEN_FIELDS | {"owner_is_service_account": False},
    "Pipeline": PIPELINE_FIELDS | {"state": "stopped"},
    "PipelineSummary": PIPELINE_FIELDS | {"state": "stopped", "allowed": ["see", "run"]},
    "ChangeTrustRuleBodyRequest": dict.fromkeys(TRUST_RULE_FIELDS, ...) | {"lifetime_minutes": 30},
    "CreateTrustRuleBodyRequest": TRUST_RULE_FIELDS | {"issuer": "https://id.example.com"},
    "TrustRule": TRUST_RULE_FIELDS | {"id": TRUST_RULE},
    "ExchangeBodyRequest": {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvOmFjbWUvc2hvcCJ9.c2lnbmF0dXJl",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "scope": "pipeline",
        "audience": "acme",
    },
    "Exchange": {
        "access_token": "eyJ...",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "pipeline",
    },
    "ExchangeError": {"error": "invalid_request", "error_description": "The subject token has expired."},
    "ChangeWebhookBodyRequest": {"description": "Chat of the team"}
    | dict.fromkeys(("url", "events", "is_paused"), ...),
    "CreateWebhookBodyRequest": {name: WEBHOOK_FIELDS[name] for name in ("url", "description", "events")},
    "Delivery": {
        "id": ENTRY,
        "type": "notification.leaked",
        "state": "delivered",
        "status": 204,
        "error": "",
        "next_attempt_at": None,
    },
    "Service": SERVICE_FIELDS
    | {
        "id": SERVICE,
        "audience": f"https://portal.example.com/services/{SERVICE}",
        "scopes": [{"id": "service:grafana:read", **SERVICE_SCOPE}],
        "is_enabled": True,
    },
    "CreateServiceBodyRequest": SERVICE_FIELDS
    | {"name": "Metrics", "short_name": "metrics", "scopes": [SERVICE_SCOPE]},
    "ChangeServiceBodyRequest": dict.fromkeys(SERVICE_FIELDS, ...)
    | {"description": "Dashboards of all teams", "is_enabled": True, "scopes": ...},
    "ServiceRule": {
        "id": ENTRY,
        "user_id": OTHER_PERSON,
        "user_email": OTHER_EMAIL,
        "group_id": None,
        "group_name": None,
    },
    "SubjectBodyRequest": {
        "id": ...,
        "user_id": ...,
        "user_email": OTHER_EMAIL,
        "group_id": ...,
        "group_name": ...,
    },
    "TryBodyRequest": {"method": "GET", "path": "/api/dashboards/7"},
    "Decision": {
        "is_open": True,
        "code": "",
        "scope": "service:grafana:read",
        "line": 1,
        "detail": "GET /api/dashboards/7 needs the scope Read (line 1).",
    },
    "ServiceSecret": {"id": ENTRY, "ends_at": None, "last_used_at": None},
    "NewServiceSecret": {
        "id": ENTRY,
        "ends_at": None,
        "last_used_at": None,
        "secret": "u8QdZ3Yk0mJrW5cVtX1nGf7aPbL2sEhKo9iNy4RxTqM",
    },
    "CreateSecretBodyRequest": {"overlap_hours": 24},
    "SendAgainBodyRequest": {"event_id": ENTRY},
    "Webhook": WEBHOOK_FIELDS | {"id": WEBHOOK},
    "WebhookWithSecret": WEBHOOK_FIELDS | {"id": WEBHOOK, "secret": "whsec_plJ3nmyCDGBKInavdOK15jsl"},
    "ApproveBodyRequest": {"message": "The tests of the release are green."},
    "RejectBodyRequest": {"message": "Wait for the security fix."},
    "RoleRule": ROLE_RULE,
    "RoleRuleRequest": ROLE_RULE,
    "Run": RUN_FIELDS,
    "RunLogLine": {"step": "Build", "action": "post", "message": "Answered 200 in 6 ms.", "level": "info"},
    "RunStarted": {"status": "executed", "message": "Run 2 of “Build and test” is queued.", "runCount": 2},
    "RunStatus": {"status": "success", "message": "Run 1 of “Build and test”: success."},
    "ServiceAccount": ACCOUNT_FIELDS,
    "CreateServiceAccountBodyRequest": {
        "name": "CI deploy",
        "description": ...,
        "groups": ...,
        "responsible": [PERSON],
    },
    "ChangeServiceAccountBodyRequest": {
        "name": ...,
        "description": "Deploys the shop.",
        "site_role": "user",
        "groups": ...,
        "responsible": [PERSON, OTHER_PERSON],
    },
    "TryClaimsBodyRequest": {"claims": {"email": EMAIL, "groups": ["ops"]}},
    "ClaimsOutcome": {"is_refused": False, "site_role": "auditor", "role_rule": 1, "left_out": []},
    "ReportedUsesBodyRequest": {
        "uses": [
            {
                "id": ENTRY,
                "token_id": TOKEN,
                "at": STARTED,
                "method": "GET",
                "path": "/api/dashboards/7",
                "status": 200,
                "ip": ADDRESS,
                "user_agent": AGENT,
            }
        ]
    },
    "ReportedUses": {"stored": 1, "duplicates": 0, "unknown": 0},
    "RuledGroup": {"id": GROUP, "name": "Builders", "rule": 1},
    "SingleSignOn": SINGLE_SIGN_ON
    | {
        "is_set_up": True,
        "sign_in_url": "https://portal.example.com/login/single-sign-on/organization/?organization=example",
        "redirect_url": f"https://portal.example.com/login/single-sign-on/{ENTRY}/callback/",
        "last_failure": "",
        "last_failure_at": None,
    },
    "Session": {"id": SESSION, "is_current": True},
    "Step": STEP_FIELDS,
    "StepBodyRequest": {
        "id": ...,
        "name": "Build",
        "kind": "http_call",
        "method": "POST",
        "secret_headers": {"Authorization": "Bearer secret-of-the-build-server"},
        "secret_query": ...,
        "secret_body": ...,
        "instructions": ...,
    },
    "StepRun": {"name": "Build", "kind": "http_call", "state": "success", "message": "Answered 200 in 6 ms."},
    "StepTemplate": {
        "id": "github",
        "label": "GitHub Actions",
        "description": "Starts a workflow of a repository.",
        "method": "POST",
        "url": "https://api.github.com/repos/OWNER/REPOSITORY/actions/workflows/WORKFLOW/dispatches",
        "body": '{"ref": "main"}',
        "expected_status": 204,
    },
    "Token": WHOLE_TOKEN_FIELDS,
    "TokenLookup": WHOLE_TOKEN_FIELDS,
    "TokenLookupBodyRequest": {"token": JWT},
    "TokenOutcome": {"id": TOKEN, "outcome": "expired"},
    "TokenReportBodyRequest": {"tokens": [JWT], "url": "https://github.com/example/app/blob/main/deploy.sh"},
    "TokenReport": {"status": "received"},
    "TokenUsage": {"id": TOKEN, "after_end": None},
    "TokenUse": USE_FIELDS,
    "TokenUseDetail": USE_FIELDS,
    "TransferPipelineBodyRequest": {"owner_id": ..., "owner_email": OTHER_EMAIL},
    "UndeliveredMail": {"state": "waiting"},
    "User": PERSON_FIELDS | {"is_active": True, "live_tokens": 1, "has_two_factor": True, "undelivered_mails": []},
}
REVOKED = {
    "state": "revoked",
    "revoked_at": STARTED,
    "revoked_by": EMAIL,
    "revoke_reason": "Found in a public repository",
}
# Where an operation answers something else about the same object.
ANSWERS: dict[str, dict[str, Any]] = {
    "approval_approve": {
        "state": "approved",
        "decided_at": STARTED,
        "decided_by": OTHER_EMAIL,
        "decision_reason": "Agreed in the weekly meeting.",
    },
    "approval_reject": {
        "state": "rejected",
        "decided_at": STARTED,
        "decided_by": OTHER_EMAIL,
        "decision_reason": "Use a token with fewer scopes.",
    },
    "approval_withdraw": {"state": "withdrawn", "decided_at": STARTED, "decided_by": EMAIL},
    "review_campaign_cancel": {"state": "cancelled", "ended_at": STARTED, "ended_by": EMAIL, "is_record_pending": True},
    "group_change": {"name": "Release team"},
    "group_create": {"name": "Release team"},
    "pipeline_approve": {"message": "Step 1 of run 1 of “Build and test” is approved."},
    "pipeline_reject": {"message": "Step 1 of run 1 of “Build and test” is rejected."},
    "pipeline_reset": {"message": "“Build and test” is reset."},
    "pipeline_resume": {"message": "Run 1 of “Build and test” is queued again."},
    "pipeline_lock": {"is_locked": True},
    "pipeline_transfer": {"owner_id": OTHER_PERSON, "owner_email": OTHER_EMAIL},
    "token_change": {"name": "Nightly build 2", "description": "Starts the tests every night."},
    "token_current_expire": REVOKED,
    "token_expire": REVOKED,
    "service_account_deactivate": {"is_active": False, "state": "deactivated"},
    "user_change": {"is_active": False, "state": "deactivated"},
    "user_erase": {
        "name": "Erased person 3f2a9c1b7d04",
        "email": "erased-3f2a9c1b7d04@erased.invalid",
        "is_active": False,
        "state": "deactivated",
        "groups": [],
    },
    "user_invite": NEW_PERSON
    | {"groups": [{"id": GROUP, "name": "Builders"}], "state": "invited", "last_sign_in_at": None, "live_tokens": 0}
    | {"id": OTHER_PERSON, "has_two_factor": False},
    "user_two_factor_reset": {"has_two_factor": False},
    "user_invitation": {"state": "invited", "last_sign_in_at": None, "live_tokens": 0, "has_two_factor": False},
}
# Rows by the first part of an address after /api/v1/.
IDS: dict[str, Any] = {
    "groups": GROUP,
    "service-accounts": ACCOUNT,
    "pipelines": PIPELINE,
    "tokens": TOKEN,
    "users": OTHER_PERSON,
    "me/sessions": SESSION,
    "review-campaigns": CAMPAIGN,
    "trust-rules": TRUST_RULE,
    "services": SERVICE,
    "webhooks": WEBHOOK,
}


def add_examples(result: Shape, generator: Any, **kwargs: Any) -> Shape:
    """A hook of drf-spectacular. Runs after those that add the errors."""
    components = result["components"]["schemas"]
    for path, item in result["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["example"] = _id_in(path, parameter["name"])
            if "requestBody" in operation:
                _add_to_content(operation["requestBody"], components, {})
            for status, response in operation["responses"].items():
                changes = ANSWERS.get(operation["operationId"], {}) if status.startswith("2") else {}
                _add_to_content(response, components, changes)
    record = result["paths"]["/api/v1/review-campaigns/{id}/record"]["get"]["responses"]["200"]["content"]["text/csv"]
    record["example"] = RECORD
    for log, row in (("logs_user_tokens", "TokenUse"), ("logs_user_actions", "Activity")):
        _add_exports(result, log, _example({"$ref": f"#/{row}"}, components))
    return result


def _add_to_content(described: Shape, components: Shape, changes: dict[str, Any]) -> None:
    content = described.get("content", {}).get("application/json")
    if content is not None and "example" not in content:
        example = _example(content["schema"], components)
        content["example"] = example | changes if changes else example


def _id_in(path: str, name: str) -> Any:
    before = path.removeprefix("/api/v1/").partition(f"/{{{name}}}")[0]
    return IDS.get(before, ENTRY)


def _add_exports(result: Shape, log: str, row: dict[str, Any]) -> None:
    """The organization's log and the person's own are exported alike, as CSV or JSON Lines."""
    own = {"logs_user_tokens": "me_authentication_log", "logs_user_actions": "me_activity_log"}[log]
    cells = _as_cells(row)
    examples = {
        "text/csv": f"{','.join(cells)}\r\n{','.join(cells.values())}\r\n",
        "application/jsonl": json.dumps(row) + "\n",
    }
    for item in result["paths"].values():
        for operation in item.values():
            if operation["operationId"] in (f"{log}_export", f"{own}_export"):
                for kind, content in operation["responses"]["200"]["content"].items():
                    content["example"] = examples[kind]


def _as_cells(row: dict[str, Any]) -> dict[str, str]:
    """In CSV, the service has a column for each of its fields, and details are JSON."""
    service = row.get("service", {})
    flat = {name: value for name, value in row.items() if name not in {"service", "reported_at"}}
    flat |= {f"service_{name}": value for name, value in service.items()}
    flat |= {"reported_at": row["reported_at"]} if "reported_at" in row else {}
    return {name: _as_cell(value) for name, value in flat.items()}


def _as_cell(value: Any) -> str:
    if value is None or isinstance(value, int):
        return "" if value is None else str(value)
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return '"' + text.replace('"', '""') + '"'


def _example(shape: Shape, components: Shape, name: str = "") -> Any:
    """An example of a schema. ``name``: the field that it describes."""
    if "$ref" in shape:
        component = shape["$ref"].rsplit("/", 1)[1]
        described = components[component]
        if "properties" in described:
            return _object(described, components, OBJECTS.get(component, {}))
        return _scalar(described, name)
    for several in ("allOf", "oneOf"):
        if several in shape:
            return _example(shape[several][0], components, name)
    if "properties" in shape:
        return _object(shape, components, {})
    if name in VALUES:
        return VALUES[name]
    kinds = shape.get("type", "string")
    if kinds == "array" or "array" in kinds:
        return [_example(shape["items"], components, name)]
    return _scalar(shape, name)


def _object(shape: Shape, components: Shape, own: dict[str, Any]) -> dict[str, Any]:
    """``own``: the values of this kind of object."""
    return {
        name: own[name] if name in own else _example(described, components, name)
        for name, described in shape["properties"].items()
        if own.get(name) is not ...
    }


def _scalar(shape: Shape, name: str) -> Any:
    choices = shape.get("enum")
    value = VALUES.get(name)
    if choices:
        return value if value in choices else choices[0]
    if value is not None:
        return value
    kinds = shape.get("type", "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    return {"boolean": True, "integer": shape.get("minimum", 1), "object": {}}.get(kind, shape.get("default", ""))
