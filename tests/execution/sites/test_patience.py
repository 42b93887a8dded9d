"""Three calls that the scheduler did not answer are no reason to end a campaign; three jobs that failed are."""

from types import SimpleNamespace

from parsl.jobs.error_handlers import windowed_error_handler
from parsl.jobs.states import JobState, JobStatus

from alflow.execution.sites.patience import PATIENCE_S, PatientHandler

REFUSED = JobStatus(JobState.FAILED, "Failed to start block 3: sbatch did not answer")
FAILED = JobStatus(JobState.FAILED, "worker_init failed")
RUNNING = JobStatus(JobState.RUNNING)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def ended(handler, *states):
    found = []
    executor = SimpleNamespace(set_bad_state_and_fail_all=found.append)
    handler(executor, {str(number): state for number, state in enumerate(states)})
    return bool(found)


def test_a_scheduler_that_takes_no_job_is_waited_for():
    clock = Clock()
    handler = PatientHandler(windowed_error_handler, clock)
    assert not ended(handler, RUNNING, RUNNING, *[REFUSED] * 3)
    clock.now = PATIENCE_S - 1.0
    assert not ended(handler, *[REFUSED] * 30)
    clock.now = PATIENCE_S + 1.0
    assert ended(handler, *[REFUSED] * 31)


def test_patience_begins_anew_once_a_job_was_taken():
    clock = Clock()
    handler = PatientHandler(windowed_error_handler, clock)
    assert not ended(handler, *[REFUSED] * 3)
    clock.now = PATIENCE_S
    assert not ended(handler, *[REFUSED] * 3, RUNNING)
    clock.now = 1.5 * PATIENCE_S
    assert not ended(handler, *[REFUSED] * 3, RUNNING, *[REFUSED] * 3)


def test_jobs_that_start_and_fail_end_an_executor_at_once():
    handler = PatientHandler(windowed_error_handler, Clock())
    assert not ended(handler, RUNNING, FAILED, FAILED)
    assert ended(handler, RUNNING, FAILED, FAILED, FAILED)
