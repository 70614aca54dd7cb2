"""What the README says of the server is what happens, with the unmodified client."""

import re
from pathlib import Path

from servers import serving

from triptych.server.router import embedded_specs
from triptych.server.served import ServedModel

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_client_of_the_readme_gets_its_answer(capsys):
    part = README.partition("\n## As a server\n")[2].partition("\n## ")[0]
    [code] = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    wanted = code.rpartition("  # ")[2].strip()
    with serving([ServedModel(spec) for spec in embedded_specs()]) as server:
        exec(compile(code.replace("http://127.0.0.1:8000", server.url), "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == wanted
