"""Reads the answer of `cosign verify-attestation --type cyclonedx` and prints how many crates it names.

    crates.py FILE PROGRAM VERSION CRATE...

Fails unless they are those of this program in this version, and the given crates are among them.
"""

import base64
import json
import sys

path, program, version, *expected = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    envelopes = [json.loads(line) for line in file if line.strip()]
statements = [json.loads(base64.b64decode(envelope["payload"])) for envelope in envelopes]
predicates = [statement["predicate"] for statement in statements]
if len(predicates) != 1:
    sys.exit(f"{len(predicates)} bills of materials instead of one")
subject = predicates[0]["metadata"]["component"]
if (subject["name"], subject["version"]) != (program, version):
    sys.exit(f"the bill of materials is that of {subject['name']} {subject['version']}")
names = {component["name"] for component in predicates[0]["components"]}
missing = sorted(set(expected) - names)
if missing:
    sys.exit(f"the bill of materials does not name {', '.join(missing)}")
print(f"{len(predicates[0]['components'])} crates")
