"""Outside judges: lmms-eval runs our checkpoints, and inspect_ai opens our scored answers.

Both are optional. lmms-eval is imported by the modules that need it; the logs of inspect_ai are written without that package.
"""

LMMS_EVAL_MISSING = (
    "lmms-eval is not installed in this environment; `make judge` makes one that has it, see docs/outside_judges.md"
)
