"""Much more of everything for the demo's organization: many rows, and all that is hard to show.

Screenshots and accessibility checks run on it as well: a page that fits the demo's few short names can still cut off
longer ones.
"""

from django.db import transaction

from accounts.models import Organization, User
from opsera_portal.demo.data import new_password
from opsera_portal.demo.many.logs import add_activity, add_uses
from opsera_portal.demo.many.people import LONG_EMAIL, add_groups, add_people, add_undelivered_mails
from opsera_portal.demo.many.pipelines import add_pipelines
from opsera_portal.demo.many.runs import add_runs
from opsera_portal.demo.many.tokens import add_tokens, add_tokens_of_others


def add_many(*, echo_port: int) -> tuple[dict[str, str], dict[str, int]]:
    """Adds all of it to the demo's organization, or nothing if it is there already.

    Returns the passwords by e-mail address, and how many rows of which kind it added.
    """
    with transaction.atomic():
        organization = Organization.objects.select_for_update().get(slug="demo")
        if User.objects.filter(email=LONG_EMAIL).exists():
            return {}, {}
        administrator = User.objects.get(email="admin@demo.example")
        password = new_password()
        people = add_people(organization, password)
        groups = add_groups(organization, people)
        mails = add_undelivered_mails(people)
        own_tokens = add_tokens(administrator)
        tokens = own_tokens + add_tokens_of_others(people)
        pipelines = add_pipelines([administrator, *people], groups, echo_port=echo_port)
        runs = add_runs(pipelines, administrator, next((token for token in own_tokens if token.is_active), None))
        uses = add_uses(tokens)
        activity = add_activity(administrator, people, groups, pipelines, tokens)
    return {LONG_EMAIL: password}, {
        "people": len(people),
        "groups": len(groups),
        "undelivered mails": len(mails),
        "tokens of the Administrator": len(own_tokens),
        "tokens of other people": len(tokens) - len(own_tokens),
        "pipelines": len(pipelines),
        "runs": len(runs),
        "entries in the authentication log": len(uses),
        "entries in the activity log": len(activity),
    }
