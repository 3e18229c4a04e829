"""How the threads of a worker look for tasks in the database. test_worker_command.py starts whole workers."""

import threading
import time

import pytest
from django.db import connection

from core.queue import database_worker
from pipelines.management.commands.worker import _worker

THREADS = 3


@pytest.mark.django_db(transaction=True)
def test_one_thread_of_an_idle_worker_looks_for_tasks_at_a_time(monkeypatch):
    workers = [_worker(interval=0.01) for _ in range(THREADS)]
    waiting, together = set(), []

    def wait(seconds):
        waiting.add(threading.get_ident())
        together.append(len(waiting))
        time.sleep(seconds)
        waiting.discard(threading.get_ident())
        if len(together) >= 10:
            for worker in workers:
                worker.running = False

    def run(worker):
        worker.run()
        connection.close()

    monkeypatch.setattr(database_worker, "sleep", wait)
    threads = [threading.Thread(target=run, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert set(together) == {1}
