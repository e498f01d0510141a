# Reads a JSON array of [schema file, document] from standard input, and tells of
# each document whether the schema takes it: a line of "yes" or "no".

import json
import pathlib
import sys

from jsonschema import Draft202012Validator

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "data" / "schemas"
validators = {}
for name, document in json.load(sys.stdin):
    if name not in validators:
        schema = json.loads((SCHEMAS / name).read_text())
        Draft202012Validator.check_schema(schema)
        validators[name] = Draft202012Validator(schema)
    print("yes" if validators[name].is_valid(document) else "no")
