"""Known vulnerabilities of the releases that a lock names: ``python tools/audit.py constraints.txt``.

pip-audit looks them up at PyPI, or else at OSV. Where neither answers it passes all releases over and exits with 0, so
that its answer is read here. Exit codes: 0 none known, 1 some are, 2 nothing or not everything could be looked up.
"""

import json
import subprocess
import sys
from typing import Any

SERVICES = ("pypi", "osv")
NONE_KNOWN, VULNERABLE, NOT_AUDITED = 0, 1, 2
Dependencies = list[dict[str, Any]]


def main(lock: str) -> int:
    """Ask one service after the other until one knows the releases; gives the exit code."""
    code, line = NOT_AUDITED, "no vulnerability service could be reached; nothing was audited, repeat with a network"
    for service in SERVICES:
        dependencies = look_up(lock, service)
        if any("skip_reason" not in each for each in dependencies):
            code, line = verdict(dependencies, service)
        if code != NOT_AUDITED:
            break
    print(f"audit: {line}")
    return code


def look_up(lock: str, service: str) -> Dependencies:
    """What pip-audit says of each release; nothing where it cannot reach the service."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--disable-pip", "--no-deps"]
    options = ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    answer = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    try:
        dependencies: Dependencies = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return []
    return dependencies


def verdict(dependencies: Dependencies, service: str) -> tuple[int, str]:
    """Exit code and line, where the service knows one release or more."""
    audited = [each for each in dependencies if "skip_reason" not in each]
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    bad = [
        f"{each['name']} {each['version']} ({', '.join(known['id'] for known in each['vulns'])})"
        for each in audited
        if each["vulns"]
    ]
    if bad:
        return VULNERABLE, f"{len(bad)} of {len(audited)} releases have known vulnerabilities: {', '.join(bad)}"
    if skipped:
        return NOT_AUDITED, f"{service} knows nothing of {len(skipped)} releases: {', '.join(skipped)}"
    return NONE_KNOWN, f"{len(audited)} releases looked up at {service}, no known vulnerability"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
