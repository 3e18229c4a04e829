import factory
from factory.django import DjangoModelFactory

from accounts.tests.factories import UserFactory
from pipelines.models import Pipeline, Run, Step


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


class RunFactory(DjangoModelFactory):
    class Meta:
        model = Run

    pipeline = factory.SubFactory(PipelineFactory)
    number = 1
    started_by = factory.SelfAttribute("pipeline.owner")
    started_by_email = factory.SelfAttribute("started_by.email")
