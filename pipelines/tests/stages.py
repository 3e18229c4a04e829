"""Brings a run into each possible state, with the services and the worker's own code."""

from pipelines import runner, services
from pipelines.models import Step
from pipelines.services import start_run
from pipelines.tests.factories import PipelineFactory, StepFactory


class Stage:
    """A pipeline whose steps call the build server, its owner, and its last run."""

    def __init__(self, owner, build_server, *steps, **fields):
        self.owner, self.build_server = owner, build_server
        self.pipeline = PipelineFactory(owner=owner, **fields)
        self.has_steps(*(steps or ("/one", "/two", "/three")))
        self.run = None

    def has_steps(self, *steps, **fields):
        """Replaces the steps. Each one is a path of the build server, or "gate"."""
        self.pipeline.steps.all().delete()
        for position, step in enumerate(steps, start=1):
            if step == "gate":
                made = {"kind": Step.Kind.APPROVAL, "url": "", "name": f"Gate {position}"}
            else:
                url = self.build_server.url + step if step.startswith("/") else step
                made = {"url": url, "name": f"Step {position}", **fields}
            StepFactory(pipeline=self.pipeline, position=position, **made)

    def ask(self, **options):
        self.run = start_run(actor=options.get("actor", self.owner), pipeline=self.pipeline)
        return self.run

    def work(self):
        runner.execute_queued(self.pipeline.pk)
        return self

    def do(self, action, **options):
        """Calls the service: "stop", "resume", "reset", "approve" or "reject"."""
        service = {
            "stop": services.stop_pipeline,
            "resume": services.resume_pipeline,
            "reset": services.reset_pipeline,
            "approve": services.approve_gate,
            "reject": services.reject_gate,
        }[action]
        if action == "reject":
            options.setdefault("message", "Not now")
        options.setdefault("actor", self.owner)
        return service(pipeline=self.pipeline, **options)

    def to_the_end(self, work=None):
        """Works, approves gates and resumes the failed run, until it has ended."""
        actions = {"paused": "approve", "halted failed": "resume"}
        (work or self.work)()
        while action := actions.get(self.state):
            self.do(action)
            (work or self.work)()

    @property
    def state(self):
        return state_of(self.run)

    @property
    def steps(self):
        return steps_of(self.run)

    @property
    def log(self):
        return list(self.run.log_lines.order_by("id").values_list("message", flat=True))


def state_of(run):
    """Returns "finished success", "halted failed", or only the state if there is no outcome."""
    run.refresh_from_db()
    return f"{run.state} {run.outcome}".strip()


def steps_of(run):
    return " ".join(run.step_runs.order_by("position").values_list("state", flat=True))


def queued(stage, mortality):
    stage.ask()


def running(stage, mortality):
    stage.ask()
    mortality.execute(stage.pipeline, dies_in_call=2)


def stopping(stage, mortality):
    running(stage, mortality)
    stage.do("stop")


def paused(stage, mortality):
    stage.has_steps("/one", "gate", "/three")
    stage.ask()
    stage.work()


def approved(stage, mortality):
    paused(stage, mortality)
    stage.do("approve")


def rejected(stage, mortality):
    paused(stage, mortality)
    stage.do("reject")


def stopped_at_gate(stage, mortality):
    paused(stage, mortality)
    stage.do("stop")


def failed(stage, mortality):
    stage.build_server.answers["/two"] = (500, "broken")
    stage.ask()
    stage.work()
    del stage.build_server.answers["/two"]


def failed_at_the_last(stage, mortality):
    stage.build_server.answers["/three"] = (500, "broken")
    stage.ask()
    stage.work()
    del stage.build_server.answers["/three"]


def resumed(stage, mortality):
    failed(stage, mortality)
    stage.do("resume")


def released(stage, mortality):
    """Its worker was killed between two steps."""
    running(stage, mortality)
    # As if the end of the first step had been saved and the second step had not begun.
    stage.run.step_runs.filter(state="running").update(state="waiting", started_at=None)
    runner.recover_lost_runs(of_worker=stage.run.worker or runner._worker)


def lost(stage, mortality):
    """Its worker was killed in the middle of the second step."""
    running(stage, mortality)
    runner.recover_lost_runs(of_worker=runner._worker)


def succeeded(stage, mortality):
    stage.ask()
    stage.work()


def taken_back(stage, mortality):
    stage.ask()
    stage.do("stop")


def cleared(stage, mortality):
    failed(stage, mortality)
    stage.do("reset")


STAGES = {
    "queued": queued,
    "running": running,
    "stopping": stopping,
    "paused": paused,
    "approved": approved,
    "resumed": resumed,
    "released": released,
    "stopped at gate": stopped_at_gate,
    "failed": failed,
    "lost": lost,
    "failed at the last": failed_at_the_last,
    "rejected": rejected,
    "succeeded": succeeded,
    "taken back": taken_back,
    "cleared": cleared,
}
