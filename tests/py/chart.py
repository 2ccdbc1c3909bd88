"""Renders a Helm chart with each of the values that come as JSON, and holds every object against Kubernetes' schemas.

In:  {"chart": folder, "kubernetes": version, "values": [...]}
Out: one JSON object for each values: {"files": {template: text}, "config": {name: text}} or {"refused": text}
"""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

# Not Kubernetes' own: their schemas come with whoever installs them.
FOREIGN = {"PrometheusRule", "ServiceMonitor", "TLSRoute"}


def rendered(chart, values, kubernetes):
    try:
        files = chart.render(values, name="lanyard", namespace="ci")
    except helm_python.HelmError as refusal:
        return {"refused": str(refusal)}
    config = {}
    for template, text in files.items():
        if not template.endswith(".yaml"):
            continue
        for thing in yaml.safe_load_all(text):
            if thing is None or thing["kind"] in FOREIGN:
                continue
            kubernetes_validate.validate(thing, kubernetes, strict=True)
            if thing["kind"] == "ConfigMap":
                config[thing["metadata"]["name"]] = thing["data"]
    return {"files": files, "config": config}


def main():
    asked = json.load(sys.stdin)
    findings = helm_python.lint(asked["chart"], asked["values"][0], strict=True)
    chart = helm_python.Chart.load(asked["chart"])
    answers = [rendered(chart, values, asked["kubernetes"]) for values in asked["values"]]
    json.dump({"lint": findings, "answers": answers}, sys.stdout)


main()
