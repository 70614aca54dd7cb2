"""Evaluates the tasks of a folder with lm-eval, once for each way to a server: run_lm_eval.py WAYS FOLDER OUT.

WAYS is JSON: for each name the tasks, and the arguments of lm-eval's `local-completions`. OUT gets, for each name, each
task's samples with what lm-eval asked and what it made of the answers.
"""

import json
import sys
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager


def main() -> None:
    ways, folder, out = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    tasks = TaskManager(include_path=folder, include_defaults=False)
    found = {}
    for name, way in ways.items():
        result = simple_evaluate(
            "local-completions", model_args=way["arguments"], tasks=way["tasks"], task_manager=tasks,
            log_samples=True, bootstrap_iters=0,
        )  # fmt: skip
        found[name] = {"samples": result["samples"], "results": result["results"]}
    out.write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
