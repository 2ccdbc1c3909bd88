"""Holds a pod, as JSON from standard input, against Kubernetes' schema."""

import json
import sys

import kubernetes_validate

kubernetes_validate.validate(json.load(sys.stdin), "1.33", strict=True)
