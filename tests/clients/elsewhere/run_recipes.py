"""Runs programs one after the other, each as it is and with its own variables of the environment, and tells what each
printed. Standard input: `[{"code": ..., "variables": ...}]`; standard output: `[{"printed": ..., "failed": ...}]`.
"""

import contextlib
import io
import json
import os
import sys
import traceback


def run(code, variables):
    os.environ.clear()
    os.environ.update(variables)
    printed, failed = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, "<recipe>", "exec"), {"__name__": "__main__"})
        except Exception:
            failed = traceback.format_exc()
    return {"printed": printed.getvalue(), "failed": failed}


json.dump([run(**program) for program in json.load(sys.stdin)], sys.stdout)
