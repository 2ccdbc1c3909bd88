"""Stand-ins for what the quickstarts call and a test machine has not: stand_ins.py NAME ARGUMENTS…

Each takes the arguments that the pages give it and no others. `helm` renders the real chart, holds its objects against
Kubernetes' schemas and starts the server that they describe; `kubectl` keeps what it is told to create, and runs commands where
that server's pod would.

STAND_IN is the folder of this machine's state, with ports.json; CHECKOUT the source tree.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["STAND_IN"])
CHECKOUT = Path(os.environ["CHECKOUT"])
PORTS = json.loads((STATE / "ports.json").read_text())


def refuse(what):
    sys.exit(f"{sys.argv[1]}: {what}: {sys.argv[2:]}")


def flags(words, known, several=()):
    """Words as {flag: value} and what stands alone; a flag that is not known is refused."""
    told, alone = {name: [] for name in several}, []
    words = list(words)
    while words:
        word = words.pop(0)
        name, _, value = word.partition("=")
        if name.startswith("--"):
            if name not in known:
                refuse(f"{name} is not known")
            if known[name] is None:
                told[name] = True
            else:
                value = value or words.pop(0)
                if not re.fullmatch(known[name], value):
                    refuse(f"{value!r} is no {name}")
                told[name].append(value) if name in several else told.update({name: value})
        else:
            alone.append(word)
    return told, alone


def daemon(arguments, log):
    """Starts it; its pid is kept, so that the test can end it."""
    with open(log, "ab") as out:
        child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    (STATE / "pids").mkdir(exist_ok=True)
    (STATE / "pids" / str(child.pid)).touch()


# ── a machine ──────────────────────────────────────────────────────────────────────────


def sudo(*command):
    os.execvp(command[0], command)


def apt_get(*words):
    if words[:2] != ("install", "--yes") or not re.fullmatch(r"\./lanyard_[0-9.]+-1_amd64\.deb", words[2]) or words[3:]:
        refuse("not what the page says")


def chown(*words):
    """Keys and journal are the server's; its configuration and rules are not."""
    if words != ("-R", "lanyard:", f"{STATE}/var/lib/lanyard"):
        refuse("not what the page says")
    Path(words[2]).resolve(strict=True)


def install(*words):
    """The real one; the user is the package's."""
    told = [word for at, word in enumerate(words) if "--owner" not in (word, words[at - 1])]
    if len(told) != len(words) and words[words.index("--owner") + 1] != "lanyard":
        refuse("no such user")
    os.execv("/usr/bin/install", ["install", *told])


def systemctl(*words):
    if words == ("restart", "gitlab-runner"):
        return
    if words != ("enable", "--now", "lanyard"):
        refuse("not what the page says")
    unit = (CHECKOUT / "docs/systemd/lanyard.service").read_text().replace("/etc/lanyard", f"{STATE}/etc/lanyard")
    for line in unit.splitlines():
        key, _, command = line.partition("=")
        command = command.replace("/usr/bin/lanyard", "lanyard").split()
        if key == "ExecStartPre":
            subprocess.run(command, check=True)
        if key == "ExecStart":
            daemon(command, STATE / "server.log")


def cargo(*words):
    if words[:3] != ("run", "--release", "--"):
        refuse("not what the page says")
    os.execvp("lanyard", ["lanyard", *words[3:]])


# ── a cluster ──────────────────────────────────────────────────────────────────────────

NAME = r"[a-z0-9.-]+"
CHARTS = {"istio/istiod", "gitlab/gitlab-runner", "linkerd/linkerd-control-plane"}


def config_map(namespace, name):
    return STATE / "configmaps" / namespace / name


def put(values, path, value):
    *folders, last = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value


def helm(action, release, chart, *words):
    known = {"--namespace": NAME, "--set": r"[\w.]+=.+", "--set-file": r"\w+=.+", "--values": ".+", "--reuse-values": None}
    told, alone = flags(words, known, several=("--set", "--set-file"))
    if alone or "--namespace" not in told:
        refuse("not what the page says")
    values = {}
    for one in told["--set"]:
        put(values, *one.split("=", 1))
    for one in told["--set-file"]:
        name, path = one.split("=", 1)
        put(values, name, Path(path).read_text())
    if action == "install" and chart == "helm/lanyard":
        installed(release, told["--namespace"], values)
    elif action == "upgrade" and chart in CHARTS and told.get("--reuse-values"):
        upgraded(chart, values, told.get("--values"))
    else:
        refuse("not what the page says")


def upgraded(chart, values, path):
    import tomllib

    import yaml

    if path:
        values |= yaml.safe_load(Path(path).read_text())
    if chart == "gitlab/gitlab-runner":
        tomllib.loads(values["runners"]["config"])["runners"][0]["kubernetes"]["pod_spec"]
    if chart == "istio/istiod":
        assert "BEGIN CERTIFICATE" in values["meshConfig"]["caCertificates"][0]["pem"]
    if chart == "linkerd/linkerd-control-plane":
        assert values["identityTrustAnchorsPEM"].count("BEGIN CERTIFICATE") == 2, "the mesh's own root and ours"


def installed(release, namespace, values):
    import helm_python
    import kubernetes_validate
    import yaml

    chart = helm_python.Chart.load(str(CHECKOUT / "helm/lanyard"))
    files = chart.render(values, name=release, namespace=namespace)
    for template, text in files.items():
        for thing in yaml.safe_load_all(text) if template.endswith(".yaml") else ():
            if thing is None:
                continue
            kubernetes_validate.validate(thing, "1.33", strict=True)
            if thing["kind"] == "ConfigMap" and thing["metadata"]["name"] == release:
                data = thing["data"]
            if thing["kind"] == "StatefulSet":
                told = thing["spec"]["template"]["spec"]["containers"][0]["env"]
                (STATE / "environment.json").write_text(here(json.dumps({one["name"]: one["value"] for one in told})))
    started(release, namespace, data, values)


def here(text):
    """The places of this machine, in place of those in the pod."""
    for place, mine in (("/etc/lanyard", "etc/lanyard"), ("/var/lib/lanyard", "volume")):
        text = text.replace(place, str(STATE / mine))
    return text.replace("https://localhost:8443", f"https://localhost:{PORTS['issuer']}")


def started(release, namespace, data, values):
    """The server of these files, on this machine's ports."""
    kept, etc, volume = config_map(namespace, release), STATE / "etc/lanyard", STATE / "volume"
    for folder in (kept, etc, volume / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    (volume / "data").chmod(0o700)
    for name, text in data.items():
        (kept / name).write_text(text)
        text = here(text)
        for port, mine in (("8443", "issuer"), ("8444", "bundle"), ("8081", "health")):
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{PORTS[mine]}")
        (etc / name).write_text(text)
    if values["gitlab"].get("caConfigMap"):
        (etc / "gitlab").mkdir(exist_ok=True)
        ca = config_map(namespace, values["gitlab"]["caConfigMap"]) / "ca.crt"
        (etc / "gitlab/ca.crt").write_text(ca.read_text())
    config = str(etc / "server.toml")
    subprocess.run(["lanyard", "config", "check", config], check=True)
    daemon(["lanyard", "server", "--config", config], STATE / "server.log")


def kubectl(*words):
    known = {"--namespace": NAME, "--from-file": r"(\w[\w.]*=)?.+", "--filename": ".+", "--output": "jsonpath=.+"}
    inside = words.index("--") if "--" in words else len(words)
    told, alone = flags(words[:inside], known)
    namespace = told.get("--namespace", "default")
    match alone:
        case ["create", "namespace", name]:
            (STATE / "configmaps" / name).mkdir(parents=True)
        case ["create", "configmap", name]:
            key, _, path = told["--from-file"].rpartition("=")
            config_map(namespace, name).mkdir()
            (config_map(namespace, name) / (key or path)).write_text(Path(path).read_text())
        case ["get", "configmap", "linkerd-identity-trust-roots"]:
            print((STATE / "mesh-root.pem").read_text(), end="")
        case ["get", "configmap", name]:
            key = re.fullmatch(r"jsonpath=\{\.data\.(.+)\}", told["--output"])[1].replace("\\.", ".")
            print((config_map(namespace, name) / key).read_text(), end="")
        case ["rollout", "status", "statefulset/lanyard"]:
            ready()
        case ["rollout", "restart", "deployment", "istiod"]:
            pass
        case ["logs", "lanyard-0"]:
            print((STATE / "server.log").read_text(), end="")
        case ["exec", "lanyard-0"]:
            os.environ |= json.loads((STATE / "environment.json").read_text())
            os.execvp("lanyard", words[inside + 1 :])
        case ["apply"]:
            import yaml

            for thing in yaml.safe_load_all(Path(told["--filename"]).read_text()):
                assert thing["apiVersion"] and thing["kind"] and thing["metadata"]["name"] and thing["spec"]
        case _:
            refuse("not what the page says")


def ready():
    for _ in range(300):
        if subprocess.run(["lanyard", "health", "--address", f"127.0.0.1:{PORTS['health']}"], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    sys.exit((STATE / "server.log").read_text())


globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
