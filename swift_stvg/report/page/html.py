"""One file that shows everything, from disk and offline, whatever text is in the data.

Data stands in it as JSON in which `<` is escaped, and reaches the page through textContent; the policy in its head lets
nothing run but the script that this package brings.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Any

from swift_stvg.report.page.charts import Chart

INDEX = "index.html"


def page(data: dict[str, Any], charts: Sequence[Chart]) -> str:
    """The page's text.

    Args:
        data: what page.js reads.
        charts: in order; their titles come from `data` too.
    """
    here = files(__package__)
    template, style, script = (here.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    script = f"\n{script}\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = "'self' file:"
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src {own} data:; "
        f"media-src {own}; base-uri 'none'; form-action 'none'"
    )
    figures = {
        section: "\n".join(
            f'<figure data-chart="{i}">{chart.svg}</figure>'
            for i, chart in enumerate(charts)
            if chart.section == section
        )
        for section in ("charts", "training")
    }
    return Template(template).substitute(
        policy=policy,
        style=style,
        data=safe_json(data | {"charts": [chart.title for chart in charts]}),
        script=script.removeprefix("\n").removesuffix("\n"),
        **figures,
    )


def safe_json(data: Any) -> str:
    """JSON in ASCII that no HTML parser takes for markup."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
