"""Print, as JSON, the command of every job that Snakemake would run for a config: [rule, command, log, outputs].

A program of its own: `python commands.py FOLDER CONFIG...`, a line for each config. Nothing is run.
"""

import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

ROOT = Path(__file__).resolve().parents[2]


def commands(folder, config):
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[config]),
            snakefile=ROOT / "workflow/Snakefile",
            workdir=folder,
        )
        workflow.dag(dag_settings=DAGSettings(forceall=True)).execute_workflow(executor="dryrun")
        jobs = [job for job in workflow._workflow.dag.jobs if job.shellcmd]
        found = [[job.rule.name, job.shellcmd, str(job.log[0]), sorted(map(str, job.output))] for job in jobs]
    print(json.dumps(sorted(found)), flush=True)


if __name__ == "__main__":
    for config in sys.argv[2:]:
        commands(Path(sys.argv[1]), Path(config))
