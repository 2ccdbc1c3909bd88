"""Renders a Helm chart with each of the values that come as JSON, and holds every object against Kubernetes' schemas.

In:  {"chart": folder, "kubernetes": version, "values": [...]}
Out: one JSON object for each values: {"files": {template: text}, "config": {name: text}, "fixed": what no upgrade may change}
     or {"refused": text}
"""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

# Not Kubernetes' own: their schemas come with whoever installs them.
FOREIGN = {"PrometheusRule", "ServiceMonitor", "TLSRoute"}


VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


# Of a StatefulSet; Kubernetes refuses an upgrade that changes anything else.
CHANGEABLE = {"replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"}


def is_restricted(pod):
    """Kubernetes' Pod Security Standard "restricted", and more: no file of the image can be written."""
    own = pod["securityContext"]
    ours = [own["runAsNonRoot"], own["runAsUser"] > 0, own["seccompProfile"] == {"type": "RuntimeDefault"}]
    ours += [name not in pod for name in ("hostNetwork", "hostPID", "hostIPC")]
    ours += [set(volume) - {"name"} <= VOLUMES for volume in pod.get("volumes", [])]
    for container in pod["containers"] + pod.get("initContainers", []):
        its = container["securityContext"]
        ours += [its["allowPrivilegeEscalation"] is False, its["capabilities"] == {"drop": ["ALL"]}]
        ours += [its["readOnlyRootFilesystem"], "privileged" not in its]
        ours += ["hostPort" not in port for port in container.get("ports", [])]
    return all(ours)


def rendered(chart, values, kubernetes):
    try:
        files = chart.render(values, name="lanyard", namespace="ci")
    except helm_python.HelmError as refusal:
        return {"refused": str(refusal)}
    config, fixed = {}, None
    for template, text in files.items():
        if not template.endswith(".yaml"):
            continue
        for thing in yaml.safe_load_all(text):
            if thing is None or thing["kind"] in FOREIGN:
                continue
            kubernetes_validate.validate(thing, kubernetes, strict=True)
            if thing["kind"] == "StatefulSet":
                fixed = {name: value for name, value in thing["spec"].items() if name not in CHANGEABLE}
            if thing["kind"] in ("Job", "StatefulSet"):
                assert is_restricted(thing["spec"]["template"]["spec"]), thing
            if thing["kind"] == "ConfigMap":
                config[thing["metadata"]["name"]] = thing["data"]
    return {"files": files, "config": config, "fixed": fixed}


def main():
    asked = json.load(sys.stdin)
    findings = helm_python.lint(asked["chart"], asked["values"][0], strict=True)
    chart = helm_python.Chart.load(asked["chart"])
    answers = [rendered(chart, values, asked["kubernetes"]) for values in asked["values"]]
    json.dump({"lint": findings, "answers": answers}, sys.stdout)


main()
