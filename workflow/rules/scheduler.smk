# How often Snakemake looks for jobs that can begin.
#
# Its own limit, 100 jobs a second, sets a timer whenever it looks and finds ready jobs, and looks again when the timer
# ends. Each job that ends makes it look, too, and so begins one more row of looks, as long as jobs are ready: soon it
# looks without pause, and has a core for itself. Any other limit (--max-jobs-per-timespan) stays.
# A workflow that has this one as a module has an `onstart` of its own: docs/module.md.
ITS_OWN = (100, 1)  # jobs, and in how many seconds


onstart:
    limiter = getattr(workflow.scheduler, "job_rate_limiter", None)
    if (getattr(limiter, "max_jobs", None), getattr(limiter, "timespan", None)) == ITS_OWN:
        workflow.scheduler.job_rate_limiter = None
