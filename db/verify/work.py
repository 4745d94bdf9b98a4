"""No event and no job is forgotten: what is not done stands in the queue, and what is done does not."""

from db.verify.invariant import Invariant, Question

EVENTS = Question(
    since="""
        SELECT id FROM webhook_events WHERE received_at >= :wall_since
        UNION SELECT event_id FROM queue WHERE event_id IS NOT NULL
        UNION SELECT event_id FROM job_attempts WHERE ended_at >= :wall_since AND event_id IS NOT NULL
    """,
    broken="""
        SELECT e.id, e.type, e.status, q.dead_reason AS queue_dead_reason, q.id AS queue_row,
               e.received_at, e.last_error
        FROM webhook_events e [looked e.id]
        LEFT JOIN queue q ON q.event_id = e.id
        WHERE CASE WHEN e.status IN ('received', 'retrying') THEN q.id IS NULL OR q.dead_reason IS NOT NULL
                   WHEN e.status = 'dead' THEN q.dead_reason IS NULL
                   ELSE q.id IS NOT NULL END
    """,
)
JOBS = Question(
    since="""
        SELECT id FROM jobs WHERE created_at >= :wall_since
        UNION SELECT job_id FROM queue WHERE job_id IS NOT NULL
        UNION SELECT job_id FROM job_attempts WHERE ended_at >= :wall_since AND job_id IS NOT NULL
    """,
    broken="""
        SELECT j.id, j.name, j.status, q.dead_reason AS queue_dead_reason, q.id AS queue_row,
               j.created_at, j.last_error
        FROM jobs j [looked j.id]
        LEFT JOIN queue q ON q.job_id = j.id
        WHERE CASE WHEN j.status IN ('queued', 'retrying') THEN q.id IS NULL OR q.dead_reason IS NOT NULL
                   WHEN j.status = 'dead' THEN q.dead_reason IS NULL
                   ELSE q.id IS NOT NULL END
    """,
)
QUEUE = Question(
    broken="""
        SELECT q.id, q.queue, q.name, coalesce(q.event_id, q.job_id::text) AS work, q.leased_by, q.lease_until,
               CASE WHEN q.lease_until IS NULL THEN 'there is no such work'
                    ELSE 'its lease ran out long ago' END AS wrong
        FROM queue q
        WHERE (q.event_id IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_events e WHERE e.id = q.event_id))
           OR (q.job_id IS NOT NULL AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = q.job_id))
           OR q.lease_until < clock_timestamp() - interval '10 minutes'
    """,
)

INVARIANTS = (
    Invariant(
        name="events-finished-or-queued",
        holds="Each event is processed, ignored or dead, or stands in the queue; a finished one does not.",
        mend="`billing events show ID` tells its story; `billing events retry ID --why …` sets it going again",
        check=EVENTS,
    ),
    Invariant(
        name="jobs-finished-or-queued",
        holds="Each job is done, cancelled or dead, or stands in the queue; a finished one does not.",
        mend="`billing jobs show ID` tells its story; `billing jobs retry ID --why …` sets it going again",
        check=JOBS,
    ),
    Invariant(
        name="queue-leads-somewhere",
        holds="Each row of the queue is about an event or a job that exists; no lease ran out ten minutes ago.",
        mend="after a dead worker start another (`billing worker`); of work that is gone, delete the row of `queue`",
        check=QUEUE,
    ),
)
