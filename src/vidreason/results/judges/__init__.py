"""Outside judges: lmms-eval runs our checkpoints, and inspect_ai opens our scored answers.

Both are optional. Their packages are imported by the functions that need them, and nothing else imports this package.
"""

LMMS_EVAL_MISSING = (
    "lmms-eval is not installed in this environment; `make judge` makes one that has it, see docs/outside_judges.md"
)
INSPECT_MISSING = 'inspect_ai is not installed in this environment; install the extra: pip install "vidreason[inspect]"'
