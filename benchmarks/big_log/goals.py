"""What reading and keeping a big log should cost at most."""

from benchmarks.report import Goal

PAGE = Goal("database ms of the slowest page of 50", (5, 5), (2, 2), more_is_better=False)
INDEX = Goal("pages of 50 that read a whole table", (0, 0), (0, 0), more_is_better=False)
FILTER = Goal("database ms of the slowest filter", (50, 50), (50, 50), more_is_better=False)
CHART_UNSEALED = Goal("database ms of the slowest chart, nothing sealed", (20, 20), (20, 20), more_is_better=False)
CHART_UNCOUNTED = Goal("database ms of the slowest chart, nothing counted", (20, 20), (20, 20), more_is_better=False)
CHART_WAITING = Goal("database ms of the slowest chart, new entries wait", (20, 20), (20, 20), more_is_better=False)
CSV = Goal("CSV rows/s", (150_000, 300_000), (200_000, 400_000))
# SQLite has one writer at a time.
WAIT_FOR_PRUNING = Goal("longest wait beside pruning, ms", (100, None), (50, None), more_is_better=False)
WAIT_FOR_COUNTING = Goal("longest wait beside counting, ms", (100, None), (50, None), more_is_better=False)
WAIT_FOR_SEALING = Goal("longest wait beside sealing, ms", (100, None), (50, None), more_is_better=False)
PAGE_AFTERWARDS = Goal("database ms of the slowest page of 50 after VACUUM", (5, 5), (2, 2), more_is_better=False)

ALL = (
    PAGE,
    INDEX,
    FILTER,
    CHART_UNSEALED,
    CHART_UNCOUNTED,
    CHART_WAITING,
    CSV,
    WAIT_FOR_COUNTING,
    WAIT_FOR_SEALING,
    WAIT_FOR_PRUNING,
    PAGE_AFTERWARDS,
)
