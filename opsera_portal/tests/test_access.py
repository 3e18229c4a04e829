"""Access to every page and every route of the API: each role, a stranger, a signed-out person, and tokens.

The tables are the specification; read them row by row. The requested objects belong to an ordinary User of Acme
("owner"): a token, a pipeline with a step and a run. `user` to `auditor` are other people of Acme, one of each role.
`stranger` is the Administrator of another organization, `operator` a superuser.
"""

import json
import re
import uuid
from http.cookies import SimpleCookie

import pytest
from allauth.usersessions.models import UserSession
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.utils import timezone

from accounts.models import Notification, WebhookDelivery
from accounts.roles import SiteRole
from accounts.scim import schemas
from accounts.security.session_store import SessionStore, digest_of
from accounts.tests.factories import (
    GroupFactory,
    OperatorFactory,
    OrganizationFactory,
    ServiceAccountFactory,
    UserFactory,
    WebhookFactory,
)
from accounts.tests.factors import add_passkey
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from auditlog.record import record
from core.api.operations import routes
from core.api.scopes import PIPELINE, as_string
from core.api.scopes import SCOPES as SCOPES_OF_TOKENS
from gateway.tests.factories import ServiceCredentialFactory, ServiceFactory, ServiceRuleFactory
from opsera_portal.tests.worlds import check_row, created_once
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory, StepFactory
from tokens import jwt
from tokens.status_lists.models import StatusList
from tokens.tests.factories import (
    ApprovalRequestFactory,
    ReviewItemFactory,
    TokenFactory,
    TrustRuleFactory,
    bearer,
    campaign_of,
)

# ok: 200 or 204. gone: 404, as if it did not exist. no: 403. in: redirected to sign in. home: redirected
# to the overview. admin: redirected to Django admin. to: redirected after the action. post: only
# POST is allowed. bad: 400, because the form is empty; the person is allowed to send it. `ruled` is
# another pipeline of the owner, with a rule that names only the owner.
PAGES = """
page                                 owner  user   guest  power  admin  security auditor stranger operator signed_out
GET  /                               ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/                       ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/tokens/                ok     ok     ok     ok     ok     ok       ok      ok       admin    in
POST /profile/tokens/name/           ok     ok     ok     ok     ok     ok       ok      ok       admin    in
POST /profile/tokens/scopes/         ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/tokens/unused-scopes/  ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/tokens/to-confirm/     ok     ok     ok     ok     ok     ok       ok      ok       admin    in
POST /profile/tokens/to-confirm/confirm/ to to     to     to     to     to       to      to       admin    in
POST /profile/tokens/to-confirm/expire/ to  to     to     to     to     to       to      to       admin    in
GET  /profile/tokens/{token}/        ok     gone   gone   gone   ok     ok       ok      gone     admin    in
POST /profile/tokens/{token}/        bad    gone   gone   gone   no     no       no      gone     admin    in
GET  /profile/tokens/{token}/reveal/ ok     gone   gone   gone   ok     ok       ok      gone     admin    in
GET  /profile/tokens/{token}/narrower/ ok   gone   gone   gone   gone   gone     gone    gone     admin    in
GET  /profile/tokens/{token}/replace/ ok    gone   gone   gone   gone   gone     gone    gone     admin    in
POST /profile/tokens/{token}/replace/ bad   gone   gone   gone   gone   gone     gone    gone     admin    in
GET  /profile/tokens/{token}/expire/ ok     gone   gone   gone   ok     ok       gone    gone     admin    in
POST /profile/tokens/{waiting}/withdraw/ to gone  gone   gone   gone   gone     gone    gone     admin    in
POST /profile/tokens/{token}/expire/ to     gone   gone   gone   bad    bad      gone    gone     admin    in
GET  /profile/authentication-log/    ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/authentication-log/export/ ok ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/authentication-log/{use}/ ok  gone   gone   gone   gone   gone     gone    gone     admin    in
GET  /profile/activity-log/          ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/activity-log/export/   ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/activity-log/{action}/ ok     gone   gone   gone   gone   gone     gone    gone     admin    in
GET  /organization/tokens/           no     no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/approvals/        no     no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/approvals/{approval}/ no no     no     no     ok     ok       ok      gone     admin    in
POST /organization/approvals/{approval}/approve/ no no no no     to     to       no      gone     admin    in
POST /organization/approvals/{approval}/reject/ no no  no no     bad    bad      no      gone     admin    in
GET  /organization/access-review/    no     no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/access-review/export/ no no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/review-campaigns/ no     no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/review-campaigns/new/ no no     no     no     ok     no       no      ok       admin    in
POST /organization/review-campaigns/new/ no no     no     no     bad    no       no      bad      admin    in
GET  /organization/review-campaigns/{campaign}/ no no no  no     ok     ok       ok      gone     admin    in
GET  /organization/review-campaigns/{campaign}/record/ no no no no ok   ok       ok      gone     admin    in
GET  /organization/review-campaigns/{campaign}/cancel/ no no no no ok   no       no      gone     admin    in
POST /organization/review-campaigns/{campaign}/cancel/ no no no no to   no       no      gone     admin    in
GET  /organization/unused-scopes/    no     no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/unused-scopes/export/ no no   no     no     ok     ok       ok      ok       admin    in
GET  /organization/tokens/expire/ no no no no to to no to admin in
POST /organization/tokens/expire/ no no no no bad bad no bad admin in
GET  /organization/tokens/expire-matching/ no no no no ok ok no to admin in
POST /organization/tokens/expire-matching/ no no no no bad bad no bad admin in
GET  /organization/authentication-log/ no   no     no     ok     ok     ok       ok      ok       admin    in
GET  /organization/authentication-log/export/ no no no    ok     ok     ok       ok      ok       admin    in
GET  /organization/authentication-log/{use}/ no no no     ok     ok     ok       ok      gone     admin    in
GET  /organization/activity-log/     no     no     no     ok     ok     ok       ok      ok       admin    in
GET  /organization/activity-log/export/ no  no     no     ok     ok     ok       ok      ok       admin    in
GET  /organization/activity-log/{action}/ no no    no     ok     ok     ok       ok      gone     admin    in
GET  /pipelines/                     ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /pipelines/runs/                ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /pipelines/{pipeline}/          ok     ok     ok     ok     ok     ok       ok      gone     admin    in
GET  /pipelines/{pipeline}/run/      post   post   post   post   post   post     post    post     admin    in
POST /pipelines/{pipeline}/run/      to     to     no     to     to     no       no      gone     admin    in
GET  /pipelines/{pipeline}/runs/1/   ok     ok     ok     ok     ok     ok       ok      gone     admin    in
GET  /pipelines/{pipeline}/runs/1/progress/ ok ok  ok     ok     ok     ok       ok      gone     admin    in
GET  /services/                      ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /services/{service}/open/       to     to     gone   to     to     no       no      gone     admin    in
POST /services/{service}/open/       to     to     gone   to     to     no       no      gone     admin    in
GET  /services/{service}/sign-out/   ok     ok     gone   ok     ok     ok       ok      gone     admin    in
POST /services/{service}/sign-out/   to     to     gone   to     to     to       to      gone     admin    in
GET  /organization/users/ no    no    no    ok    ok    ok    ok    ok    admin in
GET  /organization/users/invite/ no    no    no    no    ok    no    no    ok    admin in
GET  /organization/users/{user}/ no    no    no    ok    ok    ok    ok    gone  admin in
POST /organization/users/{user}/role/ no    no    no    no    bad   no    no    gone  admin in
POST /organization/users/{user}/activate/ no    no    no    no    to    no    no    gone  admin in
POST /organization/users/{user}/invitation/ no    no    no    no    to    no    no    gone  admin in
GET  /organization/users/{user}/deactivate/ no    no    no    no    ok    no    no    gone  admin in
POST /organization/users/{user}/deactivate/ no    no    no    no    to    no    no    gone  admin in
GET  /organization/service-accounts/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
GET  /organization/service-accounts/new/ no    no    no    no    ok    no    no    ok    admin in
POST /organization/service-accounts/new/ no    no    no    no    bad   no    no    bad   admin in
GET  /organization/service-accounts/{account}/ ok    gone  gone  ok    ok    ok    ok    gone  admin in
GET  /organization/service-accounts/{account}/edit/ no    no    no    no    ok    no    no    gone  admin in
POST /organization/service-accounts/{account}/edit/ no    no    no    no    bad   no    no    gone  admin in
POST /organization/service-accounts/{account}/activate/ no    no    no    no    to    no    no    gone  admin in
GET  /organization/service-accounts/{account}/deactivate/ no    no    no    no    ok    no    no    gone  admin in
POST /organization/service-accounts/{account}/deactivate/ no    no    no    no    to    no    no    gone  admin in
GET  /organization/service-accounts/{account}/tokens/ ok    gone  gone  gone  ok    gone  gone  gone  admin in
POST /organization/service-accounts/{account}/tokens/ bad   gone  gone  gone  bad   gone  gone  gone  admin in
POST /organization/service-accounts/{account}/tokens/name/ ok    gone  gone  gone  ok    gone  gone  gone  admin in
POST /organization/service-accounts/{account}/tokens/scopes/ ok    gone  gone  gone  ok    gone  gone  gone  admin in
GET  /organization/mails/ no    no    no    no    ok    no    no    ok    admin in
GET  /organization/single-sign-on/ no    no    no    no    ok    no    no    ok    admin in
POST /organization/single-sign-on/ no    no    no    no    bad   no    no    bad   admin in
POST /organization/single-sign-on/try/ no no   no    no    bad   no    no    bad   admin in
GET  /organization/single-sign-on/remove/ no no no   no    ok    no    no    ok    admin in
POST /organization/single-sign-on/remove/ no no no   no    to    no    no    to    admin in
GET  /organization/http-steps/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
GET  /organization/policy/ no    no    no    no    ok    ok    ok    ok    admin in
POST /organization/policy/ no    no    no    no    bad   no    no    bad   admin in
POST /organization/policy/save/ no    no    no    no    bad   no    no    bad   admin in
GET  /organization/services/ no no no no ok ok ok ok admin in
GET  /organization/services/new/ no no no no ok no no ok admin in
POST /organization/services/new/ no no no no bad no no bad admin in
GET  /organization/services/{service}/ no no no no ok ok ok gone admin in
GET  /organization/services/{service}/edit/ no no no no ok no no gone admin in
POST /organization/services/{service}/edit/ no no no no bad no no gone admin in
GET  /organization/services/{service}/access/ no no no no ok no no gone admin in
POST /organization/services/{service}/access/ no no no no bad no no gone admin in
POST /organization/services/{service}/access/{service_rule}/remove/ no no no no to no no gone admin in
GET  /organization/services/{service}/test/ no no no no ok no no gone admin in
POST /organization/services/{service}/test/ no no no no bad no no gone admin in
GET  /organization/services/{service}/switch-off/ no no no no ok no no gone admin in
POST /organization/services/{service}/switch-off/ no no no no to no no gone admin in
GET  /organization/services/{service}/switch-on/ no no no no ok no no gone admin in
POST /organization/services/{service}/switch-on/ no no no no to no no gone admin in
GET  /organization/services/{service}/delete/ no no no no ok no no gone admin in
POST /organization/services/{service}/delete/ no no no no to no no gone admin in
GET  /organization/services/{service}/secret/ no no no no ok no no gone admin in
POST /organization/services/{service}/secret/ no no no no bad no no gone admin in
GET  /organization/services/{service}/secrets/{secret}/end/ no no no no ok no no gone admin in
POST /organization/services/{service}/secrets/{secret}/end/ no no no no to no no gone admin in
GET  /organization/trust/ no no no no ok no no ok admin in
GET  /organization/trust/new/ no no no no ok no no ok admin in
POST /organization/trust/new/ no no no no bad no no bad admin in
POST /organization/trust/try/ no no no no bad no no bad admin in
GET  /organization/trust/{trust_rule}/ no no no no ok no no gone admin in
POST /organization/trust/{trust_rule}/ no no no no bad no no gone admin in
GET  /organization/trust/{trust_rule}/delete/ no no no no ok no no gone admin in
POST /organization/trust/{trust_rule}/delete/ no no no no to no no gone admin in
GET  /organization/webhooks/ no no no no ok no no ok admin in
GET  /organization/webhooks/new/ no no no no ok no no ok admin in
POST /organization/webhooks/new/ no no no no bad no no bad admin in
GET  /organization/webhooks/{webhook}/ no no no no ok no no gone admin in
GET  /organization/webhooks/{webhook}/edit/ no no no no ok no no gone admin in
POST /organization/webhooks/{webhook}/edit/ no no no no bad no no gone admin in
GET  /organization/webhooks/{webhook}/secret/ no no no no ok no no gone admin in
POST /organization/webhooks/{webhook}/secret/ no no no no ok no no gone admin in
POST /organization/webhooks/{webhook}/pause/ no no no no to no no gone admin in
POST /organization/webhooks/{webhook}/resume/ no no no no to no no gone admin in
POST /organization/webhooks/{webhook}/test/ no no no no to no no gone admin in
GET  /organization/webhooks/{webhook}/delete/ no no no no ok no no gone admin in
POST /organization/webhooks/{webhook}/delete/ no no no no to no no gone admin in
POST /organization/webhooks/{webhook}/deliveries/{event}/send-again/ no no no no to no no gone admin in
GET  /organization/groups/ no    no    no    ok    ok    ok    ok    ok    admin in
POST /organization/groups/ no    no    no    bad   bad   no    no    bad   admin in
GET  /organization/groups/{group}/ no    no    no    ok    ok    ok    ok    gone  admin in
POST /organization/groups/{group}/rename/ no    no    no    bad   bad   no    no    gone  admin in
POST /organization/groups/{group}/members/ no    no    no    bad   bad   no    no    gone  admin in
GET  /organization/groups/{group}/members/{user}/remove/ no    no    no    ok    ok    no    no    gone  admin in
POST /organization/groups/{group}/members/{user}/remove/ no    no    no    to    to    no    no    gone  admin in
GET  /organization/groups/{group}/delete/ no    no    no    ok    ok    no    no    gone  admin in
POST /organization/groups/{group}/delete/ no    no    no    to    to    no    no    gone  admin in
POST /suggestions/people/ no    no    no    ok    ok    ok    ok    ok    admin in
POST /suggestions/addresses/ no    no    no    ok    ok    ok    ok    ok    admin in
POST /suggestions/groups/ no    no    no    ok    ok    ok    ok    ok    admin in
POST /suggestions/subjects/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
POST /suggestions/pipelines/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
POST /suggestions/tags/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
POST /pipelines/{pipeline}/suggestions/owners/ no no no no ok no no gone admin in
POST /pipelines/{pipeline}/suggestions/recipients/ no no no ok ok no no gone admin in
GET  /invitation/{text}/{text}/ ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
GET  /who-may-do-what/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
GET  /pipelines/new/ ok    ok    no    ok    ok    no    no    ok    admin in
POST /pipelines/new/ bad   bad   no    bad   bad   no    no    bad   admin in
GET  /pipelines/{pipeline}/edit/ ok    no    no    no    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/edit/ bad   no    no    no    bad   no    no    gone  admin in
GET  /pipelines/{pipeline}/notifications/ ok    no    no    ok    ok    no    no    gone  admin in
GET  /pipelines/{pipeline}/duplicate/ ok    no    no    ok    ok    no    no    gone  admin in
GET  /pipelines/{pipeline}/transfer/ ok    no    no    no    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/lock/ to    no    no    no    to    no    no    gone  admin in
POST /pipelines/{pipeline}/unlock/ to    no    no    no    to    no    no    gone  admin in
GET  /pipelines/{pipeline}/delete/ ok    no    no    no    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/delete/ to    no    no    no    to    no    no    gone  admin in
GET  /pipelines/{pipeline}/steps/ ok    no    no    ok    ok    no    no    gone  admin in
GET  /pipelines/{pipeline}/steps/new/ ok    no    no    ok    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/steps/new/ bad   no    no    bad   bad   no    no    gone  admin in
GET  /pipelines/{pipeline}/steps/{step}/ ok    no    no    ok    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/steps/{step}/ bad   no    no    bad   bad   no    no    gone  admin in
POST /pipelines/{pipeline}/steps/{step}/move-up/ to    no    no    to    to    no    no    gone  admin in
POST /pipelines/{pipeline}/steps/{step}/move-down/ to    no    no    to    to    no    no    gone  admin in
GET  /pipelines/{pipeline}/steps/{step}/remove/ ok    no    no    ok    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/steps/{step}/remove/ to    no    no    to    to    no    no    gone  admin in
GET  /pipelines/{pipeline}/access-rules/ ok    no    no    ok    ok    no    no    gone  admin in
POST /pipelines/{pipeline}/access-rules/ bad   no    no    bad   bad   no    no    gone  admin in
POST /pipelines/{ruled}/access-rules/{rule}/ to    gone  gone  to    to    no    no    gone  admin in
GET  /pipelines/{ruled}/access-rules/{rule}/remove/ ok    gone  gone  ok    ok    no    no    gone  admin in
POST /pipelines/{ruled}/access-rules/{rule}/remove/ to    gone  gone  to    to    no    no    gone  admin in
GET  /pipelines/{ruled}/ ok    gone  gone  ok    ok    ok    ok    gone  admin in
POST /pipelines/{pipeline}/stop/ to    to    no    to    to    no    no    gone  admin in
POST /pipelines/{pipeline}/resume/ to    to    no    to    to    no    no    gone  admin in
POST /pipelines/{pipeline}/reset/ to    to    no    to    to    no    no    gone  admin in
POST /pipelines/{pipeline}/runs/1/approve/ to    no    no    to    to    no    no    gone  admin in
POST /pipelines/{pipeline}/runs/1/reject/ bad   no    no    bad   bad   no    no    gone  admin in
GET  /admin/                         no     no     no     no     ok     no       no      ok       ok       in
GET  /login/                         home   home   home   home   home   home     home    home     admin    ok
GET  /logout/                        ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /login/inactive/                ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /profile/security/              ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /profile/preferences/ ok    ok    ok    ok    ok    ok    ok    ok    ok    in
POST /profile/preferences/ bad   bad   bad   bad   bad   bad   bad   bad   bad   in
POST /profile/preferences/notifications/ bad bad bad   bad    bad    bad      bad     bad      admin    in
GET  /profile/notifications/ ok    ok    ok    ok    ok    ok    ok    ok    admin in
POST /profile/notifications/{notification}/read/ to gone gone gone gone gone gone gone admin in
POST /profile/notifications/read-all/ bad bad bad bad bad bad bad bad admin in
GET  /profile/security/password/     ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /profile/security/password/set/ to     to     to     to     to     to       to      to       to       in
GET  /profile/security/email/        ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /profile/security/sessions/     ok     ok     ok     ok     ok     ok       ok      ok       ok       in
POST /profile/security/sessions/{session}/end/ to gone gone gone gone gone   gone    gone     gone     in
POST /profile/security/sessions/end-all/ to to     to     to     to     to       to      to       to       in
GET  /confirm-email/{text}/          gone   gone   gone   gone   gone   gone     gone    gone     gone     in
GET  /login/again/                   in     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /login/two-factor/              home   home   home   home   home   home     home    home     admin    in
GET  /login/two-factor/again/        in     in     in     in     in     in       in      in       in       in
GET  /login/passkey/                 home   home   home   home   home   home     home    home     admin    in
GET  /login/passkey/again/           ok     in     in     in     in     in       in      in       in       in
GET  /login/single-sign-on/          gone   gone   gone   gone   gone   gone     gone    gone     gone     gone
GET  /login/single-sign-on/callback/ gone   gone   gone   gone   gone   gone     gone    gone     gone     gone
GET  /login/single-sign-on/cancelled/ gone  gone   gone   gone   gone   gone     gone    gone     gone     gone
GET  /login/single-sign-on/organization/ ok ok    ok     ok     ok     ok       ok      ok       ok       ok
GET  /login/single-sign-on/{pipeline}/callback/ gone gone gone gone gone gone    gone    gone     gone     gone
GET  /login/single-sign-on/again/    in     in     in     in     in     in       in      in       in       in
GET  /profile/security/single-sign-on/ ok  ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /profile/security/two-factor/   ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /profile/security/two-factor/app/add/ ok ok   ok     ok     ok     ok       ok      ok       ok       in
POST /profile/security/two-factor/app/remove/ gone gone gone gone gone  gone     gone    gone     gone     in
GET  /profile/security/passkeys/add/ ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /profile/security/passkeys/{passkey}/rename/ ok gone gone gone gone gone    gone    gone     gone     in
GET  /profile/security/passkeys/{passkey}/remove/ ok gone gone gone gone gone    gone    gone     gone     in
POST /profile/security/passkeys/{passkey}/remove/ to gone gone gone gone gone    gone    gone     gone     in
GET  /profile/security/recovery-codes/ gone gone   gone   gone   gone   gone     gone    gone     gone     in
GET  /profile/security/recovery-codes/replace/ ok ok  ok     ok     ok     ok       ok      ok       ok       in
POST /profile/security/recovery-codes/replace/ to to  to     to     to     to       to      to       to       in
GET  /organization/users/{user}/erase/ no no no no ok no no gone admin in
POST /organization/users/{user}/erase/ no no no no bad no no gone admin in
GET  /organization/users/{user}/two-factor/reset/ no no no no ok no no gone admin in
POST /organization/users/{user}/two-factor/reset/ no no no no to no no gone admin in
GET  /password/reset/                ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /password/reset/sent/           ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /password/reset/{text}/{text}/  ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /password/reset/done/           ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /api/docs/                      ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /api/schema/                    ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /api/postman/                   ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /tokens/lookup/                 ok     ok     ok     ok     ok     ok       ok      ok       admin    in
POST /tokens/lookup/                 bad    bad    bad    bad    bad    bad      bad     bad      admin    in
GET  /secret-scanning/               ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /.well-known/jwks.json          ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /.well-known/oauth-authorization-server ok ok ok ok ok ok ok ok ok ok
GET  /.well-known/oauth-protected-resource ok ok ok ok ok ok ok ok ok ok
GET  /.well-known/oauth-protected-resource/api/v1 ok ok ok ok ok ok ok ok ok ok
GET  /.well-known/oauth-protected-resource/services/{pipeline} gone gone gone gone gone gone gone gone gone gone
GET  /status-lists/{status_list}     ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /.well-known/security.txt       gone   gone   gone   gone   gone   gone     gone    gone     gone     gone
GET  /healthz                        ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /readyz                         ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
"""

# A session and a token with the scope `api` get the same answer. ok: 2xx. no: 403. who?: 401.
# bad: 400. conflict: 409. session: only sessions are allowed. token: only tokens are allowed.
ROUTES = """
route                              owner  user   guest  power  admin  security auditor stranger operator signed_out
GET  /me                           ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /tokens                       ok     ok     ok     ok     ok     ok       ok      ok       no       who?
POST /tokens                       session session session session session session session session no    who?
GET  /approvals                    ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /approvals/{approval}         ok     no     no     no     ok     ok       ok      no       no       who?
POST /approvals/{approval}/approve no     no     no     no     session session no      no       no       who?
POST /approvals/{approval}/reject  no     no     no     no     session session no      no       no       who?
POST /approvals/{approval}/withdraw ok    no     no     no     no     no       no      no       no       who?
GET  /tokens/current               token  token  token  token  token  token    token   token    no       who?
POST /tokens/current/expire        token  token  token  token  token  token    token   token    no       who?
POST /tokens/current/rotate        no     no     no     no     no     no       no      no       no       who?
GET  /tokens/unused-scopes         ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /tokens/to-confirm            ok     ok     ok     ok     ok     ok       ok      ok       no       who?
POST /tokens/to-confirm/confirm    session no    no     no     no     no       no      no       no       who?
POST /tokens/to-confirm/expire     session no    no     no     no     no       no      no       no       who?
GET  /review-campaigns             no     no     no     no     ok     ok       ok      ok       no       who?
POST /review-campaigns no no no no bad-in-session no no bad-in-session no who?
GET  /review-campaigns/{campaign}  no     no     no     no     ok     ok       ok      no       no       who?
POST /review-campaigns/{campaign}/cancel no no no no session no no no no who?
GET  /review-campaigns/{campaign}/items no no no no     ok     ok       ok      no       no       who?
GET  /review-campaigns/{campaign}/record no no no no    ok     ok       ok      no       no       who?
GET  /review-campaigns/{campaign}/check no no no no     ok     ok       ok      no       no       who?
GET  /tokens/{token}               ok     no     no     no     no     no       no      no       no       who?
PATCH /tokens/{token}              session no    no     no     no     no       no      no       no       who?
GET  /tokens/{token}/activity      ok     no     no     no     no     no       no      no       no       who?
GET  /tokens/{token}/narrower      ok     no     no     no     no     no       no      no       no       who?
POST /tokens/{token}/replace       session no    no     no     no     no       no      no       no       who?
POST /tokens/{token}/expire        ok     no     no     no     bad    bad      no      no       no       who?
POST /tokens/lookup                ok     no     no     no     ok     ok       no      no       no       who?
POST /tokens/report                ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /organization/tokens          no     no     no     no     ok     ok       ok      ok       no       who?
GET  /organization/access-review   no     no     no     no     ok     ok       ok      ok       no       who?
GET  /organization/unused-scopes   no     no     no     no     ok     ok       ok      ok       no       who?
POST /organization/tokens/expire   no     no     no     no     ok     ok       no      no       no       who?
GET  /organization/mails           no     no     no     no     ok     no       no      ok       no       who?
GET  /organization/single-sign-on  no     no     no     no     session no      no      session  no       who?
PATCH /organization/single-sign-on no     no     no     no     session no      no      session  no       who?
DELETE /organization/single-sign-on no    no     no     no     session no      no      session  no       who?
POST /organization/single-sign-on/preview no no no no session no no session no who?
GET  /organization/policy          no     no     no     no     ok     ok       ok      ok       no       who?
PATCH /organization/policy         no     no     no     no     session no      no      session  no       who?
POST /organization/policy/preview  no     no     no     no     ok     no       no      ok       no       who?
GET  /logs/user/tokens             no     no     no     ok     ok     ok       ok      ok       no       who?
GET  /logs/user/tokens/export      no     no     no     ok     ok     ok       ok      ok       no       who?
GET  /logs/user/tokens/{use}       no     no     no     ok     ok     ok       ok      no       no       who?
GET  /logs/user/actions            no     no     no     ok     ok     ok       ok      ok       no       who?
GET  /logs/user/actions/export     no     no     no     ok     ok     ok       ok      ok       no       who?
GET  /logs/user/actions/{action}   no     no     no     ok     ok     ok       ok      no       no       who?
GET  /me/authentication-log        ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /me/authentication-log/export ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /me/authentication-log/{use}  ok     no     no     no     no     no       no      no       no       who?
GET  /me/activity-log              ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /me/activity-log/export       ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /me/activity-log/{action}     ok     no     no     no     no     no       no      no       no       who?
GET  /pipelines                    ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /runs                         ok     ok     ok     ok     ok     ok       ok      ok       no       who?
POST /pipeline/run                 ok     ok     no     ok     ok     no       no      no       no       who?
POST /pipeline/status              ok     ok     ok     ok     ok     ok       ok      no       no       who?
POST /pipeline/summary             ok     ok     ok     ok     ok     ok       ok      no       no       who?
POST /pipeline/logs                ok     ok     ok     ok     ok     ok       ok      no       no       who?
GET  /users no    no    no    ok    ok    ok    ok    ok    no    who?
POST /users no no no no session no no session no who?
GET  /users/{user} no    no    no    ok    ok    ok    ok    no    no    who?
PATCH /users/{user} no    no    no    no    ok    no    no    no    no    who?
POST /users/{invited}/invitation no no no no session no no no no who?
POST /users/{user}/erase no no no no bad-in-session no no no no who?
POST /users/{user}/two-factor/reset no no no no session no no no no who?
GET  /service-accounts ok    ok    ok    ok    ok    ok    ok    ok    no    who?
POST /service-accounts no no no no session no no bad-in-session no who?
GET  /service-accounts/{account} ok    no    no    ok    ok    ok    ok    no    no    who?
PATCH /service-accounts/{account} no no no no session no no no no who?
POST /service-accounts/{account}/activate no no no no session no no no no who?
POST /service-accounts/{account}/deactivate no no no no ok no no no no who?
GET  /service-accounts/{account}/tokens ok    no    no    no    ok    no    no    no    no    who?
POST /service-accounts/{account}/tokens session no no no session no no no no who?
POST /token-exchange bad bad bad bad bad bad bad bad bad bad
GET  /services ok ok ok ok ok ok ok ok no who?
POST /services no no no no session no no session no who?
GET  /services/{service} ok ok no ok ok ok ok no no who?
PATCH /services/{service} no no no no session no no no no who?
DELETE /services/{service} no no no no session no no no no who?
GET  /services/{service}/access-rules no no no no ok ok ok no no who?
PUT /services/{service}/access-rules no no no no session no no no no who?
POST /services/{service}/try ok ok no ok ok ok ok no no who?
GET  /services/{service}/secrets no no no no ok ok ok no no who?
POST /services/{service}/secrets no no no no session no no no no who?
DELETE /services/{service}/secrets/{secret} no no no no session no no no no who?
POST /services/{service}/uses who? who? who? who? who? who? who? who? who? who?
GET  /trust-rules no no no no ok no no ok no who?
POST /trust-rules no no no no session no no bad-in-session no who?
GET  /trust-rules/{trust_rule} no no no no ok no no no no who?
PATCH /trust-rules/{trust_rule} no no no no session no no no no who?
DELETE /trust-rules/{trust_rule} no no no no session no no no no who?
GET  /webhooks no no no no ok no no ok no who?
POST /webhooks no no no no session no no session no who?
GET  /webhooks/{webhook} no no no no ok no no no no who?
PATCH /webhooks/{webhook} no no no no session no no no no who?
DELETE /webhooks/{webhook} no no no no session no no no no who?
POST /webhooks/{webhook}/secret no no no no session no no no no who?
POST /webhooks/{webhook}/test no no no no session no no no no who?
POST /webhooks/{webhook}/send-again no no no no session no no no no who?
GET  /webhooks/{webhook}/deliveries no no no no ok no no no no who?
GET  /groups no    no    no    ok    ok    ok    ok    ok    no    who?
POST /groups no    no    no    bad   bad   no    no    bad   no    who?
GET  /groups/{group} no    no    no    ok    ok    ok    ok    no    no    who?
PATCH /groups/{group} no    no    no    bad   bad   no    no    no    no    who?
DELETE /groups/{group} no    no    no    ok    ok    no    no    no    no    who?
POST /pipelines bad   bad   no    bad   bad   no    no    bad   no    who?
GET  /pipelines/{pipeline} ok    ok    ok    ok    ok    ok    ok    no    no    who?
PATCH /pipelines/{pipeline} bad   bad   no    bad   bad   no    no    no    no    who?
DELETE /pipelines/{pipeline} conflict no    no    no    conflict no    no    no    no    who?
GET  /pipelines/{pipeline}/access-rules ok    no    no    ok    ok    ok    ok    no    no    who?
PUT  /pipelines/{pipeline}/access-rules bad   bad   no    bad   bad   no    no    no    no    who?
POST /pipelines/{pipeline}/duplicate ok    no    no    ok    ok    no    no    no    no    who?
POST /pipelines/{pipeline}/transfer bad   bad   no    bad   bad   no    no    no    no    who?
POST /pipelines/{pipeline}/lock ok    no    no    no    ok    no    no    no    no    who?
POST /pipelines/{pipeline}/unlock conflict no    no    no    conflict no    no    no    no    who?
POST /pipeline/stop ok    ok    no    ok    ok    no    no    no    no    who?
POST /pipeline/resume conflict conflict no    conflict conflict no    no    no    no    who?
POST /pipeline/reset ok    ok    no    ok    ok    no    no    no    no    who?
POST /pipeline/approve conflict no    no    conflict conflict no    no    no    no    who?
POST /pipeline/reject bad   bad   no    bad   bad   no    no    bad   no    who?
GET  /step-templates ok    ok    ok    ok    ok    ok    ok    ok    no    who?
GET  /organization/http-steps ok    ok    ok    ok    ok    ok    ok    ok    no    who?
GET  /me/usage ok    ok    ok    ok    ok    ok    ok    ok    no    who?
GET  /tokens/{token}/usage ok    no    no    no    no    no    no    no    no    who?
GET  /organization/usage no    no    no    no    ok    ok    ok    ok    no    who?
GET  /me/sessions session session session session session session session session no who?
POST /me/sessions/{session}/end session no no no no no no no no who?
POST /me/sessions/end-all session session session session session session session session no who?
GET  /me/preferences ok    ok    ok    ok    ok    ok    ok    ok    no    who?
PATCH /me/preferences session session session session session session session session no    who?
GET  /me/notifications ok    ok    ok    ok    ok    ok    ok    ok    no    who?
POST /me/notifications/read session no no no no no no no no who?
GET  /scim/v2/Users no no no no session no no session no who?
POST /scim/v2/Users no no no no session no no session no who?
POST /scim/v2/Users/.search no no no no session no no session no who?
GET  /scim/v2/Users/{user} no no no no session no no absent no who?
PUT  /scim/v2/Users/{user} no no no no session no no absent no who?
PATCH /scim/v2/Users/{user} no no no no session no no absent no who?
DELETE /scim/v2/Users/{user} no no no no session no no absent no who?
GET  /scim/v2/Groups no no no no session no no session no who?
POST /scim/v2/Groups no no no no session no no session no who?
POST /scim/v2/Groups/.search no no no no session no no session no who?
GET  /scim/v2/Groups/{group} no no no no session no no absent no who?
PUT  /scim/v2/Groups/{group} no no no no session no no absent no who?
PATCH /scim/v2/Groups/{group} no no no no session no no absent no who?
DELETE /scim/v2/Groups/{group} no no no no session no no absent no who?
POST /scim/v2/.search no no no no session no no session no who?
GET  /scim/v2/ServiceProviderConfig no no no no session no no session no who?
GET  /scim/v2/ResourceTypes no no no no session no no session no who?
GET  /scim/v2/ResourceTypes/User no no no no session no no session no who?
GET  /scim/v2/Schemas no no no no session no no session no who?
GET  /scim/v2/Schemas/{schema} no no no no session no no session no who?
"""

# What each scope allows an Administrator, whose role allows everything: only the scope matters.
SCOPES = """
route                              api    api-readonly pipeline pipeline-readonly security-logs scim
GET  /me                           ok     ok           ok       ok                ok    ok
GET  /tokens                       ok     ok           no       no                no    no
POST /tokens                       no     no           no       no                no    no
GET  /approvals                    ok     ok           no       no                no    no
GET  /approvals/{approval}         ok     ok           no       no                no    no
POST /approvals/{approval}/approve no     no           no       no                no    no
POST /approvals/{approval}/reject  no     no           no       no                no    no
POST /approvals/{approval}/withdraw ok    no           no       no                no    no
GET  /tokens/current               ok     ok           ok       ok                ok    ok
POST /tokens/current/expire        ok     ok           ok       ok                ok    ok
POST /tokens/current/rotate        no     no           no       no                no    no
GET  /tokens/unused-scopes         ok     ok           no       no                no    no
GET  /tokens/to-confirm            ok     ok           no       no                no    no
POST /tokens/to-confirm/confirm    no     no           no       no                no    no
POST /tokens/to-confirm/expire     no     no           no       no                no    no
GET  /review-campaigns             ok     ok           no       no                no    no
POST /review-campaigns             no     no           no       no                no    no
GET  /review-campaigns/{campaign}  ok     ok           no       no                no    no
POST /review-campaigns/{campaign}/cancel no no         no       no                no    no
GET  /review-campaigns/{campaign}/items ok ok          no       no                no    no
GET  /review-campaigns/{campaign}/record ok ok         no       no                no    no
GET  /review-campaigns/{campaign}/check ok ok          no       no                no    no
GET  /tokens/{token}               ok     ok           no       no                no    no
PATCH /tokens/{token}              no     no           no       no                no    no
GET  /tokens/{token}/activity      ok     ok           no       no                no    no
GET  /tokens/{token}/narrower      ok     ok           no       no                no    no
POST /tokens/{token}/replace       no     no           no       no                no    no
POST /tokens/{token}/expire        ok     no           no       no                no    no
POST /tokens/lookup                ok     ok           no       no                no    no
POST /tokens/report                ok     ok           ok       ok                ok    ok
GET  /organization/tokens          ok     ok           no       no                no    no
GET  /organization/access-review   ok     ok           no       no                no    no
GET  /organization/unused-scopes   ok     ok           no       no                no    no
POST /organization/tokens/expire   ok     no           no       no                no    no
GET  /organization/mails           ok     ok           no       no                no    no
GET  /organization/single-sign-on  no     no           no       no                no    no
PATCH /organization/single-sign-on no     no           no       no                no    no
DELETE /organization/single-sign-on no    no           no       no                no    no
POST /organization/single-sign-on/preview no no        no       no                no    no
GET  /organization/policy          ok     ok           no       no                no    no
PATCH /organization/policy         no     no           no       no                no    no
POST /organization/policy/preview  ok     ok           no       no                no    no
GET  /logs/user/tokens             ok     ok           no       no                ok    no
GET  /logs/user/tokens/export      ok     ok           no       no                ok    no
GET  /logs/user/tokens/{use}       ok     ok           no       no                ok    no
GET  /logs/user/actions            ok     ok           no       no                ok    no
GET  /logs/user/actions/export     ok     ok           no       no                ok    no
GET  /logs/user/actions/{action}   ok     ok           no       no                ok    no
GET  /me/authentication-log        ok     ok           no       no                no    no
GET  /me/authentication-log/export ok     ok           no       no                no    no
GET  /me/authentication-log/{use}  ok     ok           no       no                no    no
GET  /me/activity-log              ok     ok           no       no                no    no
GET  /me/activity-log/export       ok     ok           no       no                no    no
GET  /me/activity-log/{action}     ok     ok           no       no                no    no
GET  /pipelines                    ok     ok           ok       ok                no    no
GET  /runs                         ok     ok           ok       ok                no    no
POST /pipeline/run                 ok     no           ok       no                no    no
POST /pipeline/status              ok     ok           ok       ok                no    no
POST /pipeline/summary             ok     ok           ok       ok                no    no
POST /pipeline/logs                ok     ok           ok       ok                no    no
GET  /users ok    ok    no    no    no    no
POST /users no    no    no    no    no    no
GET  /users/{user} ok    ok    no    no    no    no
PATCH /users/{user} ok    no    no    no    no    no
POST /users/{invited}/invitation no no no no no    no
POST /users/{user}/erase no no no no no    no
POST /users/{user}/two-factor/reset no no no no no    no
POST /token-exchange bad bad bad bad bad bad
GET  /services ok    ok    no    no    no    no
POST /services no no no no no no
GET  /services/{service} ok ok no no no no
PATCH /services/{service} no no no no no no
DELETE /services/{service} no no no no no no
GET  /services/{service}/access-rules ok ok no no no no
PUT /services/{service}/access-rules no no no no no no
POST /services/{service}/try ok ok no no no no
GET  /services/{service}/secrets ok ok no no no no
POST /services/{service}/secrets no no no no no no
DELETE /services/{service}/secrets/{secret} no no no no no no
POST /services/{service}/uses who? who? who? who? who? who?
GET  /trust-rules ok    ok    no    no    no    no
POST /trust-rules no    no    no    no    no    no
GET  /trust-rules/{trust_rule} ok    ok    no    no    no    no
PATCH /trust-rules/{trust_rule} no    no    no    no    no    no
DELETE /trust-rules/{trust_rule} no    no    no    no    no    no
GET  /webhooks ok    ok    no    no    no    no
POST /webhooks no    no    no    no    no    no
GET  /webhooks/{webhook} ok    ok    no    no    no    no
PATCH /webhooks/{webhook} no    no    no    no    no    no
DELETE /webhooks/{webhook} no    no    no    no    no    no
POST /webhooks/{webhook}/secret no no no no no    no
POST /webhooks/{webhook}/test no no no no no    no
POST /webhooks/{webhook}/send-again no no no no no    no
GET  /webhooks/{webhook}/deliveries ok ok no no no    no
GET  /service-accounts ok    ok    no    no    no    no
POST /service-accounts no    no    no    no    no    no
GET  /service-accounts/{account} ok    ok    no    no    no    no
PATCH /service-accounts/{account} no    no    no    no    no    no
POST /service-accounts/{account}/activate no no no no no    no
POST /service-accounts/{account}/deactivate ok no no no no    no
GET  /service-accounts/{account}/tokens ok    ok    no    no    no    no
POST /service-accounts/{account}/tokens no no no no no    no
GET  /groups ok    ok    no    no    no    no
POST /groups bad   no    no    no    no    no
GET  /groups/{group} ok    ok    no    no    no    no
PATCH /groups/{group} bad   no    no    no    no    no
DELETE /groups/{group} ok    no    no    no    no    no
POST /pipelines bad   no    no   no    no    no
GET  /pipelines/{pipeline} ok    ok    ok    ok    no    no
PATCH /pipelines/{pipeline} bad   no    no   no    no    no
DELETE /pipelines/{pipeline} ok    no    no    no    no    no
GET  /pipelines/{pipeline}/access-rules ok    ok    ok    ok    no    no
PUT  /pipelines/{pipeline}/access-rules bad   no    no   no    no    no
POST /pipelines/{pipeline}/duplicate ok    no    no    no    no    no
POST /pipelines/{pipeline}/transfer bad   no    no   no    no    no
POST /pipelines/{pipeline}/lock ok    no    no    no    no    no
POST /pipelines/{pipeline}/unlock conflict no    no no    no    no
POST /pipeline/stop conflict no    conflict no    no    no
POST /pipeline/resume conflict no    conflict no    no    no
POST /pipeline/reset conflict no    conflict no    no    no
POST /pipeline/approve conflict no    conflict no    no    no
POST /pipeline/reject bad   no    bad   no    no    no
GET  /step-templates ok    ok    ok    ok    no    no
GET  /organization/http-steps ok    ok    ok    ok    no    no
GET  /me/usage ok    ok    no    no    no    no
GET  /tokens/{token}/usage ok    ok    no    no    no    no
GET  /organization/usage ok    ok    no    no    no    no
GET  /me/sessions no no no no no    no
POST /me/sessions/{session}/end no no no no no    no
POST /me/sessions/end-all no no no no no    no
GET  /me/preferences ok    ok    no    no    no    no
PATCH /me/preferences no    no    no    no    no    no
GET  /me/notifications ok    ok    no    no    no    no
POST /me/notifications/read no no no no no    no
GET /scim/v2/Users no no no no no ok
POST /scim/v2/Users no no no no no ok
POST /scim/v2/Users/.search no no no no no ok
GET /scim/v2/Users/{user} no no no no no ok
PUT /scim/v2/Users/{user} no no no no no ok
PATCH /scim/v2/Users/{user} no no no no no ok
DELETE /scim/v2/Users/{user} no no no no no ok
GET /scim/v2/Groups no no no no no ok
POST /scim/v2/Groups no no no no no ok
POST /scim/v2/Groups/.search no no no no no ok
GET /scim/v2/Groups/{group} no no no no no ok
PUT /scim/v2/Groups/{group} no no no no no ok
PATCH /scim/v2/Groups/{group} no no no no no ok
DELETE /scim/v2/Groups/{group} no no no no no ok
POST /scim/v2/.search no no no no no ok
GET /scim/v2/ServiceProviderConfig no no no no no ok
GET /scim/v2/ResourceTypes no no no no no ok
GET /scim/v2/ResourceTypes/User no no no no no ok
GET /scim/v2/Schemas no no no no no ok
GET /scim/v2/Schemas/{schema} no no no no no ok
"""

ROLES = {
    "user": SiteRole.USER,
    "guest": SiteRole.GUEST,
    "power": SiteRole.POWER_USER,
    "admin": SiteRole.ADMINISTRATOR,
    "security": SiteRole.SECURITY_MANAGER,
    "auditor": SiteRole.AUDITOR,
}


def cells(table):
    """(method, path, column, expected) for each cell."""
    head, *rows = [line.split() for line in table.strip().splitlines()]
    for method, path, *expected in rows:
        assert len(expected) == len(head) - 1, path
        for column, value in zip(head[1:], expected, strict=True):
            yield method, path, column, value


def each_row(table, *, without=()):
    """(method, path, expected) for each row; ``expected`` is a dict of column to word."""
    rows = {}
    for method, path, column, value in cells(table):
        if column not in without:
            rows.setdefault((method, path), {})[column] = value
    params = [pytest.param(method, path, row, id=f"{method} {path}") for (method, path), row in rows.items()]
    return pytest.mark.parametrize(("method", "path", "expected"), params)


class World:
    """Acme, Elsewhere, and all people and objects in the rows. Created once for this module."""

    def __init__(self):
        acme = OrganizationFactory(name="Acme", slug="acme", allowed_scopes=as_string(SCOPES_OF_TOKENS))
        owner = UserFactory(organization=acme)
        elsewhere = OrganizationFactory(name="Elsewhere", slug="elsewhere")
        self.people = {
            "owner": owner,
            "stranger": UserFactory(organization=elsewhere, site_role=SiteRole.ADMINISTRATOR),
            "operator": OperatorFactory(),
        } | {column: UserFactory(organization=acme, site_role=role) for column, role in ROLES.items()}
        pipeline = PipelineFactory(owner=owner, run_count=1)
        StepFactory(pipeline=pipeline)
        RunFactory(pipeline=pipeline, number=1)
        ruled = PipelineFactory(owner=owner)
        self.things = things_of(owner, pipeline) | {
            "ruled": ruled,
            "rule": AccessRuleFactory(pipeline=ruled, user=owner),
        }
        self.cookies = {column: signed_in(person) for column, person in self.people.items()}

        # The tests of scopes use an Administrator who owns these objects.
        self.administrator = UserFactory(organization=acme, site_role=SiteRole.ADMINISTRATOR)
        pipeline = PipelineFactory(owner=self.administrator)
        StepFactory(pipeline=pipeline)
        self.administrators_things = things_of(self.administrator, pipeline)

    def sign_in(self, client, column):
        """Signs the browser in as this person, or out."""
        client.cookies = SimpleCookie(self.cookies.get(column, {}))


def signed_in(person):
    """The cookies of someone who signed in a moment ago."""
    client = Client()
    client.force_login(person)
    return {name: morsel.value for name, morsel in client.cookies.items()}


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    yield from created_once(django_db_blocker, World)


def things_of(owner, pipeline):
    token, webhook = TokenFactory(owner=owner), WebhookFactory(organization=owner.organization)
    approval = ApprovalRequestFactory(token__owner=owner)
    ReviewItemFactory(token=token, campaign=campaign_of(owner))
    account = ServiceAccountFactory(organization=owner.organization, responsible=[owner])
    service = ServiceFactory(organization=owner.organization, allows_sessions=True)
    return {
        "token": token,
        "approval": approval,
        "campaign": campaign_of(owner),
        "waiting": approval.token,
        "session": sign_in_elsewhere(owner),
        "use": log_use(token),
        "action": record(actor=owner, action=Action.TOKEN_ISSUED, target=token),
        "pipeline": pipeline,
        "step": pipeline.steps.get(),
        "user": with_two_factor(UserFactory(organization=owner.organization)),
        "invited": UserFactory(organization=owner.organization, joined_at=None),
        "passkey": add_passkey(owner),
        "group": GroupFactory(organization=owner.organization),
        "account": account,
        "trust_rule": TrustRuleFactory(account=account),
        "service": service,
        "service_rule": ServiceRuleFactory(service=service, user=owner),
        "secret": ServiceCredentialFactory(service=service),
        "status_list": StatusList.objects.create(service=service),
        "webhook": webhook,
        "event": delivered(webhook),
        "notification": Notification.objects.create(person=owner, kind="first_use", once=str(token.pk)),
    }


def delivered(webhook):
    now = timezone.now()
    return WebhookDelivery.objects.create(
        webhook=webhook,
        event_id=uuid.uuid4(),
        type="test",
        payload="{}",
        state="delivered",
        expires_at=now,
        ended_at=now,
    )


def with_two_factor(user):
    add_passkey(user)
    return user


def sign_in_elsewhere(owner):
    store = SessionStore()
    store.create()
    return UserSession.objects.create(
        user=owner, ip="192.0.2.1", session_key=digest_of(store.session_key), user_agent="Firefox"
    )


def log_use(token):
    return TokenUse.objects.create(
        request_id=uuid.uuid4(),
        token=token,
        owner=token.owner,
        organization=token.organization,
        method="GET",
        target="/api/v1/me",
        status=200,
        outcome="allowed",
        reason="ok",
        duration_ms=1,
    )


def public_id(thing):
    match thing:
        case TokenUse():
            return thing.request_id
        case Activity():
            return thing.public_id
        case Notification():
            return thing.public_id
        case WebhookDelivery():
            return thing.event_id
    return thing.pk


def fill(path, things):
    return path.format(text="text", schema=schemas.USER, **{name: public_id(thing) for name, thing in things.items()})


PROVIDER = {
    "name": "Acme ID",
    "issuer": "https://id.example.com",
    "client_id": "portal",
    "client_secret": "a secret",
}


def body_for(path, things, method=""):
    if "/pipeline/" in path:
        return {"pipelineId": str(things["pipeline"].pk)}
    bodies = {
        "/tokens": {"name": "made by the table", "scopes": ["api"]},
        "/tokens/{token}": {"description": "written by the table"},
        "/review-campaigns": {"answer_days": 5},
        "/tokens/to-confirm/confirm": {"ids": [str(things["token"].pk)]},
        "/tokens/to-confirm/expire": {"ids": [str(things["token"].pk)]},
        "/approvals/{approval}/reject": {"reason": "by the table"},
        "/tokens/lookup": {"token": jwt.encode(things["token"])[0]},
        "/tokens/report": {"tokens": ["text"]},
        "/me/preferences": {"wants_expiry_mails": False},
        "/service-accounts": {"name": "made by the table", "responsible": [str(things["user"].pk)]},
        "/service-accounts/{account}": {"description": "written by the table"},
        "/service-accounts/{account}/tokens": {"name": "made by the table", "scopes": ["api"]},
        "/me/notifications/read": {"ids": [str(things["notification"].public_id)]},
        "/trust-rules": {
            "name": "made by the table",
            "issuer": "https://id.example.com",
            "audience": "https://portal.example.com/acme",
            "claims": [{"claim": "sub", "value": "build"}],
            "service_account_id": str(things["account"].pk),
            "scopes": ["pipeline"],
        },
        "/trust-rules/{trust_rule}": {"lifetime_minutes": 5},
        "/services": {"name": "made by the table", "short_name": "made"},
        "/services/{service}": {"description": "written by the table"},
        "/services/{service}/access-rules": {"rules": [{"user_id": str(things["user"].pk)}]},
        "/services/{service}/try": {"method": "GET", "path": "/"},
        "/webhooks": {"url": "https://hooks.example.com/", "events": ["leaked"]},
        "/webhooks/{webhook}": {"description": "written by the table"},
        "/webhooks/{webhook}/send-again": {"event_id": str(things["event"].event_id)},
        "/users": {"email": "new@acme.example", "name": "Nova New"},
        # The only change to a person that tokens may make.
        "/users/{user}": {"is_active": False},
        "/organization/single-sign-on": PROVIDER,
        "/organization/single-sign-on/preview": {"claims": {"groups": ["ops"]}},
        "/scim/v2/Users": {"userName": "new@acme.example"},
        "PUT /scim/v2/Users/{user}": {"userName": things["user"].email},
        "PATCH /scim/v2/Users/{user}": {"Operations": [{"op": "replace", "path": "active", "value": False}]},
        "/scim/v2/Groups": {"displayName": "New"},
        "PUT /scim/v2/Groups/{group}": {"displayName": "New"},
        "PATCH /scim/v2/Groups/{group}": {"Operations": [{"op": "replace", "value": {"displayName": "New"}}]},
        "/organization/policy": {"max_live_tokens": 49},
        "/organization/policy/preview": {"max_live_tokens": 49},
        "/organization/tokens/expire": {"ids": [str(things["token"].pk)], "reason": "found in a log"},
    }
    return bodies.get(f"{method} {path}") or bodies.get(path, {})


@pytest.mark.django_db
@each_row(PAGES)
def test_pages(client, world, method, path, expected):
    address = fill(path, world.things)

    def attempt(column):
        world.sign_in(client, column)
        answer = client.generic(method, address)
        if answer.status_code == 302 and answer.url.startswith("/admin/login/"):
            answer = client.get(answer.url)
        return word_for(answer)

    check_row(f"{method} {path}", expected, attempt, renders_all=False)


def word_for(answer):
    """The word for this answer in PAGES, or its status."""
    if answer.status_code != 302:
        return {200: "ok", 204: "ok", 403: "no", 404: "gone", 405: "post", 400: "bad"}.get(
            answer.status_code, answer.status_code
        )
    if answer.url.startswith("/login/"):
        return "in"
    if answer.url.startswith("/admin/"):
        return "admin" if answer.url == "/admin/" else f"302 {answer.url}"
    return "home" if answer.url == "/" else "to"


STATUSES = {"ok": {200, 201, 202, 204}, "no": {403}, "who?": {401}, "bad": {400}, "conflict": {409}}
BY_SESSION = STATUSES | {
    "session": {200, 201, 202, 204},
    "token": {403},
    "absent": {404},
    "bad-in-session": {400},
}
BY_TOKEN = STATUSES | {"session": {403}, "token": {200}, "absent": {403}, "bad-in-session": {403}}


def check_statuses(name, expected, statuses, request):
    """Checks that ``request(column)`` returns a status that matches the column's word."""

    def attempt(column):
        status = request(column).status_code
        return expected[column] if status in statuses[expected[column]] else status

    check_row(name, expected, attempt)


@pytest.mark.django_db
@each_row(ROUTES)
def test_routes_by_session(api, world, method, path, expected):
    def request(column):
        world.sign_in(api, column)
        return send(api, method, path, world.things)

    check_statuses(f"{method} {path} by session", expected, BY_SESSION, request)


@pytest.mark.django_db
@each_row(ROUTES, without={"signed_out", "operator"})
def test_routes_by_token(api, world, method, path, expected):
    def request(column):
        headers = bearer(TokenFactory(owner=world.people[column], scope="api"))
        return send(api, method, path, world.things, headers)

    check_statuses(f"{method} {path} by token", expected, BY_TOKEN, request)


@pytest.mark.django_db
@each_row(SCOPES)
def test_scopes(api, world, method, path, expected):
    def request(scope):
        headers = bearer(TokenFactory(owner=world.administrator, scope=scope))
        return send(api, method, path, world.administrators_things, headers)

    check_statuses(f"{method} {path} by scope", expected, STATUSES, request)


def address_of(path, things):
    """Addresses in the tables are those below /api/v1, or those of SCIM."""
    return fill(path if path.startswith("/scim/") else f"/api/v1{path}", things)


def send(api, method, path, things, headers=None):
    address = address_of(path, things)
    data = "" if method == "GET" else json.dumps(body_for(path, things, method))
    return api.generic(method, address, data, content_type="application/json", headers=headers)


IDS = re.compile(r"\{(?!text)\w+\}")


def as_template(path):
    for converter, name in (
        ("<id:pk>", "{id}"),
        ("<id:public_id>", "{id}"),
        ("<id:step_pk>", "{id}"),
        ("<id:rule_pk>", "{id}"),
        ("<id:user_pk>", "{id}"),
        ("<id:account_pk>", "{id}"),
        ("<id:event_pk>", "{id}"),
        ("<id:secret_pk>", "{id}"),
        ("<id:secret_id>", "{id}"),
        ("<int:pk>", "{id}"),
        ("<int:number>", "1"),
        ("<uidb36>", "{text}"),
        ("ResourceTypes/<key>", "ResourceTypes/User"),
        ("Schemas/<key>", "Schemas/{id}"),
        ("<key>", "{text}"),
        ("<uidb64>", "{text}"),
        ("<token>", "{text}"),
    ):
        path = path.replace(converter, name)
    return path


def asked(table):
    """The methods and addresses in a table, with one name for all ids."""
    return {(method, IDS.sub("{id}", path)) for method, path, _, _ in cells(table)}


def test_pipeline_scope_runs_pipelines_and_changes_nothing_else():
    changes = {
        (route.method, route.path)
        for route in routes()
        if PIPELINE in route.operation.scopes and not route.operation.only_reads
    }

    actions = ("run", "stop", "reset", "resume", "approve", "reject")
    assert changes == {("POST", f"/api/v1/pipeline/{action}") for action in actions}


def test_read_only_scopes_allow_only_reading_operations():
    wrong = [
        (scope.id, route.path)
        for route in routes()
        for scope in route.operation.scopes
        if scope.only_reads and not route.operation.only_reads
    ]

    assert wrong == []


def test_tables_contain_every_route_of_the_api():
    known = {(route.method, as_template(route.path.removeprefix("/api/v1"))) for route in routes()}

    assert asked(ROUTES) == known
    assert asked(SCOPES) == known


# Not pages: proxies and services ask these, and `gateway/tests` has their strangers.
ASKED_BY_PROGRAMS = ("auth/", "oauth/")


def test_table_contains_every_page():
    pages = set()

    def walk(patterns, prefix=""):
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            if path.startswith(("api/v1", "scim/v2", "admin/", *ASKED_BY_PROGRAMS)):
                continue
            if hasattr(pattern, "url_patterns"):
                walk(pattern.url_patterns, path)
            else:
                pages.add("/" + as_template(path))

    walk(get_resolver().url_patterns)
    assert pages - {"/favicon.ico", "/robots.txt"} == {path for _, path in asked(PAGES)} - {"/admin/"}


def with_an_id(path):
    names = {
        "/users": "{user}",
        "/approvals": "{approval}",
        "/review-campaigns": "{campaign}",
        "/groups": "{group}",
        "/service-accounts": "{account}",
        "/services": "{service}",
        "/trust-rules": "{trust_rule}",
        "/webhooks": "{webhook}",
        "/pipelines": "{pipeline}",
        "/logs/user/tokens": "{use}",
        "/logs/user/actions": "{action}",
        "/me/authentication-log": "{use}",
        "/me/activity-log": "{action}",
        "/scim/v2/Users": "{user}",
        "/scim/v2/Groups": "{group}",
        "/scim/v2/Schemas": "{schema}",
        "/scim/v2/ResourceTypes": "User",
    }
    name = names.get(path.partition("/<")[0], "{token}")
    return path.replace("<id:pk>", name).replace("<key>", name)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param(route.method, with_an_id(route.path.removeprefix("/api/v1")), id=route.path)
        for route in routes()
        if route.operation.only_reads and not route.operation.is_closed_to_tokens
    ],
)
def test_read_only_operation_changes_nothing(api, world, method, path):
    """`only_reads` decides whether a change and its log entry share a transaction."""
    RunFactory(pipeline=world.administrators_things["pipeline"], number=1)
    scope = "scim" if path.startswith("/scim/") else "api"
    token = TokenFactory(owner=world.administrator, scope=scope, last_used_at=timezone.now(), last_used_ip="127.0.0.1")

    with CaptureQueriesContext(connection) as captured:
        assert send(api, method, path, world.administrators_things, bearer(token)).status_code == 200

    # Counts of rate limits are ignored. They are written outside of transactions.
    writes = [
        query["sql"]
        for query in captured
        if not query["sql"].lstrip("(").startswith(("SELECT", "WITH")) and "core_ratecount" not in query["sql"]
    ]
    assert len(writes) == 1
    assert writes[0].startswith('INSERT INTO "auditlog_tokenuse"')
