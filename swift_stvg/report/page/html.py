"""A page in one HTML file that works offline and is safe with any text in the data.

The page holds the data as JSON with `<` escaped, and its script shows them with textContent. The
Content-Security-Policy in its head allows only the script of this package.
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
        data: the data that page.js reads.
        charts: the charts in order. Their titles are added to `data`.
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
    """JSON in ASCII without characters that an HTML parser could read as markup."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
