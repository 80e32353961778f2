"""A blank notebook with a script in each place of it that can hold one. Each script says which one it is.

A script that runs asks for `/trap/<place>` and sets every score of the submission that is open to its most.
"""

import base64
import copy
from urllib.parse import quote

from test_nbgrader import cell_of, marks, own

TRAP = "/trap/"
_SCRIPT = """
new Image().src = '/trap/PLACE';
fetch('/formgrader/api/grades?submission_id=' + top.submission_id).then(r => r.json()).then(all => all.forEach(one =>
    fetch('/formgrader/api/grade/' + one.id, {method: 'PUT', body: JSON.stringify({manual_score: one.max_score}),
        headers: {'X-XSRFToken': document.cookie.split('_xsrf=')[1].split(';')[0]}})));
"""


def script(place):
    """As an expression without a quotation mark that HTML would end."""
    return f"eval(atob(`{base64.b64encode(_SCRIPT.replace('PLACE', place).encode()).decode()}`))"


def tags(place):
    """HTML that runs a script, or asks for something, as soon as a page holds it."""
    run, ask = script(place), f"{TRAP}{place}"
    return f"""<script>{run}</script><img src=x onerror="{run}"><svg onload="{run}"></svg>
<iframe srcdoc="<script>{run}</script>"></iframe><details open ontoggle="{run}">x</details>
<style>@import url({ask}-style);</style><link rel=stylesheet href="{ask}-link"><object data="{ask}-object"></object>
<embed src="{ask}-embed"><video poster="{ask}-poster"></video><input autofocus onfocus="{run}">"""


def links(place):
    """Markdown that asks for something, or runs a script once it is clicked."""
    run, ask = quote(script(place)), f"{TRAP}{place}"
    return f"""![x]({ask}-image) ![x][one] [click](javascript:{run}) [click][two] <javascript:{run}>
[click](&#106;avascript:{run}) [click](data:text/html,x) [click](page.html) [click](/formgrader?path=submitted/eve)
http://localhost/{place} <http://localhost/{place}> $\\href{{javascript:{run}}}{{x}}$ ![x](attachment:{place}.svg)
![x](attachment:{place}.png) ![x](attachment:{place}.html)

[one]: {ask}-reference
[two]: javascript:{run}
"""


def attachments(place):
    page = base64.b64encode(tags(place).encode()).decode()
    return {
        f"{place}.svg": {"image/svg+xml": page},
        f"{place}.png": {"image/png": f'" onerror="{script(place)}'},
        f"{place}.html": {f'text/html" onerror="{script(place)}': page},
    }


def outputs(place):
    data = {"text/html": tags(place), "application/javascript": script(place), "image/svg+xml": tags(place)}
    return [
        {"output_type": "display_data", "metadata": {"text/html": {"isolated": True}}, "data": data},
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": tags(place) + links(place)}},
        {"output_type": "stream", "name": "stdout", "text": tags(place)},
        {"output_type": "error", "ename": tags(place), "evalue": tags(place), "traceback": [tags(place)]},
    ]


def hostile(released):
    """The released notebook, nothing answered, with all of it."""
    notebook = copy.deepcopy(released)
    for number, cell in enumerate(notebook["cells"]):
        place = marks(cell).get("grade_id", f"given-{number}")
        cell["id"] = f'"><script>{script(f"id-{place}")}</script>'
        cell["metadata"] |= {"tags": [f'"><script>{script(f"tag-{place}")}</script>'], "name": tags(f"name-{place}")}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = outputs(f"output-{place}"), 1
        else:
            cell["source"] = f"{''.join(cell['source'])}\n\n{tags(place)}\n\n{links(place)}"
            cell["attachments"] = attachments(place)
    cell_of(notebook, "question")["metadata"]["nbgrader"] |= {"comment": tags("comment"), "points": tags("points")}
    for cell, place in (
        (own("", "markdown"), "markdown"), (own("", "raw"), "raw"), (own(""), "code"), (own("", "unknown"), "unknown"),
        (own("", "raw"), "raw-html"),
    ):  # fmt: skip
        cell["source"] = f"{tags(f'own-{place}')}\n\n{links(f'own-{place}')}\n\n# part-RunningMean\n\nquestion\n---"
        cell["attachments"] = attachments(f"own-{place}")
        cell["metadata"] = {"raw_mimetype": "text/html", "format": "text/html", "nbgrader": {"grade_id": tags(place)}}
        notebook["cells"].insert(0, cell)
    notebook["metadata"] = {
        "title": f"</title>{tags('title')}",
        "kernelspec": {"name": tags("kernel"), "display_name": tags("kernel"), "language": tags("language")},
        "language_info": {"name": tags("language"), "pygments_lexer": tags("lexer"), "mimetype": "text/html"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": f"</script>{tags('widgets')}"}},
        "grader": {"problem": f"holds {tags('problem')}"},
    }
    return notebook
