import factory
from factory.django import DjangoModelFactory

from accounts.tests.factories import UserFactory
from pipelines import step_secrets
from pipelines.access import ItemRole
from pipelines.models import AccessRule, Pipeline, Run, Step, TokenPipeline


class PipelineFactory(DjangoModelFactory):
    class Meta:
        model = Pipeline

    owner = factory.SubFactory(UserFactory)
    organization = factory.SelfAttribute("owner.organization")
    name = factory.Sequence(lambda n: f"Pipeline {n}")


class StepFactory(DjangoModelFactory):
    class Meta:
        model = Step

    pipeline = factory.SubFactory(PipelineFactory)
    position = factory.Sequence(lambda n: n + 1)
    name = factory.Sequence(lambda n: f"Step {n}")
    url = "https://jenkins.example.com/build"


def give_secrets(step, values, place="secret_headers"):
    """Replaces the secrets of a step. Returns their encrypted values."""
    encrypted = step_secrets.encrypt(step, place, values)
    type(step).objects.filter(pk=step.pk).update(**{place: encrypted})
    setattr(step, place, encrypted)
    return encrypted


class AccessRuleFactory(DjangoModelFactory):
    """Requires a ``user`` or a ``group``."""

    class Meta:
        model = AccessRule

    pipeline = factory.SubFactory(PipelineFactory)
    role = ItemRole.USER


class RunFactory(DjangoModelFactory):
    class Meta:
        model = Run

    pipeline = factory.SubFactory(PipelineFactory)
    pipeline_public_id = factory.SelfAttribute("pipeline.pk")
    pipeline_name = factory.SelfAttribute("pipeline.name")
    organization = factory.SelfAttribute("pipeline.organization")
    number = 1
    started_by = factory.SelfAttribute("pipeline.owner")
    started_by_email = factory.SelfAttribute("started_by.email")


def limit_to(token, *pipelines):
    """Makes the token reach only these pipelines."""
    type(token).objects.filter(pk=token.pk).update(is_limited=True)
    token.is_limited = True
    TokenPipeline.objects.bulk_create(TokenPipeline(token=token, pipeline=pipeline) for pipeline in pipelines)
    return token
