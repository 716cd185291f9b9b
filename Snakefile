# The workflow lies in workflow/Snakefile, where its catalog and other workflows look for it; this file runs it from here.
include: "workflow/Snakefile"


workflow.default_target = "all"  # what the included file asks for holds in that file alone
