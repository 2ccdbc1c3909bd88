"""Reads YAML from standard input, one or several documents, and writes them as a JSON list."""

import json
import sys

import yaml

json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)
