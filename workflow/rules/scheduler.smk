# How often Snakemake looks for jobs that can begin.
#
# Its limit of 100 jobs a second, which nobody asked for, sets a timer whenever it looks, and looks again when the timer
# ends. Each finished job makes it look, too, and so begins one more such row: after a thousand jobs it looks without
# pause, and has a core for itself. A limit that was asked for (--max-jobs-per-timespan) stays.
ITS_OWN = (100, 1)  # jobs, and in how many seconds


onstart:
    limiter = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == ITS_OWN:
        workflow.scheduler.job_rate_limiter = None
