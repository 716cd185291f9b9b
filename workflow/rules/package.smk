# Where the jobs' code lies: in a clone beside the workflow, else the package that is installed beside Snakemake.
import os
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.sourcecache import LocalSourceFile

RULES = workflow.current_basedir  # of this file, also where another workflow has this one as a module
moved = workflow.modifier.path_modifier
if moved.prefix or moved.modifies_prefixes:
    raise WorkflowError(
        f"{RULES}: a module's `prefix` and `replace_prefix` would not reach the paths inside parameters"
    )


def installed_package():
    """Link to the installed package, and to the lab's models, from a folder that holds nothing else of the installed."""
    try:
        found = version("reliquant")
    except PackageNotFoundError:
        raise WorkflowError(f"{RULES}: this workflow needs the package of the same release: pip install reliquant")
    tag = str(getattr(RULES, "tag", None) or "").removeprefix("v")
    if tag.count(".") == 2 and tag != found:
        raise WorkflowError(
            f"the workflow is release {tag}, the installed package {found}: pip install reliquant=={tag}"
        )
    folder = Path(".snakemake", "reliquant").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for spec in filter(None, map(find_spec, ("reliquant", "reliquant_lab"))):  # the second where reliquant[lab] is
        link, package = folder / spec.name, Path(spec.origin).parent
        if not (link.is_symlink() and link.readlink() == package):
            link.unlink(missing_ok=True)
            link.symlink_to(package)
    return folder


CODE = Path(RULES).parents[1] / "src" if isinstance(RULES, LocalSourceFile) else installed_package()
if set("{}") & set(str(CODE)):
    raise WorkflowError(f"{CODE}: Snakemake takes what stands in braces for a wildcard: rename the folder of the code")
sys.path[:0] = [str(CODE), str(Path.cwd())]  # where plugins of one's own lie, as for the jobs
shell.prefix(
    f"export PYTHONPATH={shlex.quote(str(CODE))}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
    " RELIQUANT_USED=1"  # each log ends with what its job used
    f" RELIQUANT_FORK_SERVER=${{{{RELIQUANT_FORK_SERVER:-{os.getpid()}}}}}; "  # jobs share imports: forking/client.py
)
